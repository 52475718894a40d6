// Devices that bear vmqd's mark: made by one daemon, found and taken over by the next.
#include <gmock/gmock.h>
#include <signal.h>
#include <sys/wait.h>

#include "absl/strings/str_cat.h"
#include "daemon/xdp/link.h"
#include "daemon/xdp/link_parse.h"
#include "tests/link/tap_queues.h"
#include "tests/support/own_namespace.h"

namespace vmqd {
namespace {

using absl::StatusCode;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

constexpr char kPrefix[] = "vmqd 0123456789abcdef ";
constexpr char kMark[] = "vmqd 0123456789abcdef vm1";

std::vector<std::string> Marked(std::string_view prefix = kPrefix) {
  std::vector<std::string> names;
  auto links = MarkedLinks(prefix);
  EXPECT_OK(links);
  for (const Link& link : *links) names.push_back(link.name);
  return names;
}

class AdoptTest : public OwnNamespace {
 protected:
  static bool Active(const char* device, const char* feature) {
    auto found = GetFeature(device, feature);
    EXPECT_OK(found);
    return found.ok() && found->active;
  }
};

TEST_F(AdoptTest, MarkedDevicesAreFound) {
  ASSERT_OK(CreateTap("ta", 1500, kMark));
  ASSERT_OK(CreateVeth("va", "vb", 1500, "vmqd 0123456789abcdef vm2"));
  ASSERT_OK(CreateTap("tb", 1500));
  ASSERT_OK(CreateTap("tc", 1500, "vmqd ffffffffffffffff vm1"));
  ASSERT_TRUE(Ip("link add other type veth peer name far"));
  ASSERT_TRUE(Ip("link set other alias 'vmqd 0123456789abcdefg'"));
  EXPECT_EQ(FindLink("ta")->alias, kMark);
  EXPECT_EQ(FindLink("vb")->alias, "");
  EXPECT_THAT(Marked(), UnorderedElementsAre("ta", "va"));
  EXPECT_THAT(Marked("vmqd ffffffffffffffff "), UnorderedElementsAre("tc"));
  EXPECT_THAT(Marked("vmqd 0000000000000000 "), IsEmpty());
  EXPECT_EQ(LookUpLink("va")->group, 0u);
  for (const char* all : {"", "vmqd", "vmqd ", " "}) {
    EXPECT_REFUSED(MarkedLinks(all), StatusCode::kInvalidArgument, "beginning of a mark");
  }
}

TEST_F(AdoptTest, ATapIsTakenOver) {
  ASSERT_OK(CreateTap("ta", 1500, kMark));
  const Link made = *FindLink("ta");
  ASSERT_TRUE(Ip("link set ta down"));
  ASSERT_OK(AdoptTap("ta", 3000, kMark));
  const Link taken = *FindLink("ta");
  EXPECT_EQ(taken.ifindex, made.ifindex);
  EXPECT_EQ(taken.mtu, 3000u);
  EXPECT_TRUE(taken.up);
  EXPECT_EQ(taken.alias, kMark);
}

// What the last VMM chose is gone with it; what a living one chose stays.
TEST_F(AdoptTest, ATapIsAsNewUnlessItIsOpen) {
  ASSERT_OK(CreateTap("ta", 1500, kMark));
  ASSERT_FALSE(Active("ta", "tx-tcp-segmentation"));
  {
    TapQueues vmm;
    ASSERT_EQ(vmm.Attach("ta", IFF_VNET_HDR), 0);
    ASSERT_EQ(vmm.SetOffload(TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6), 0);
    ASSERT_TRUE(Active("ta", "tx-tcp-segmentation"));
    ASSERT_OK(AdoptTap("ta", 1500, kMark));
    EXPECT_TRUE(Active("ta", "tx-tcp-segmentation"));
    EXPECT_TRUE(FindLink("ta")->carrier);
  }
  ASSERT_OK(AdoptTap("ta", 1500, kMark));
  EXPECT_FALSE(Active("ta", "tx-tcp-segmentation"));
  EXPECT_FALSE(Active("ta", "tx-checksum-ip-generic"));
  {
    TapQueues bare;
    ASSERT_EQ(bare.Attach("ta", 0), 0);
  }
  EXPECT_FALSE(LookUpLink("ta")->vnet_header);
  ASSERT_OK(AdoptTap("ta", 1500, kMark));
  EXPECT_TRUE(LookUpLink("ta")->vnet_header);
  EXPECT_OK(FindLink("ta"));  // it stays persistent
}

TEST_F(AdoptTest, AVethIsTakenOverWithItsPeerElsewhere) {
  ASSERT_OK(CreateVeth("va", "vb", 1500, kMark));
  ASSERT_OK(AdoptVeth("va", 1400, kMark));
  EXPECT_EQ(FindLink("va")->mtu, 1400u);
  EXPECT_EQ(FindLink("vb")->mtu, 1500u);  // its user's
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t elsewhere = fork();
  if (elsewhere == 0) {
    if (unshare(CLONE_NEWNET) == 0 && write(ready[1], "x", 1) == 1) pause();
    _exit(0);
  }
  char done;
  ASSERT_EQ(read(ready[0], &done, 1), 1);
  ASSERT_TRUE(Ip(absl::StrCat("link set vb netns ", elsewhere)));
  ASSERT_TRUE(Ip("link set va down"));
  EXPECT_OK(AdoptVeth("va", 1500, kMark));
  EXPECT_TRUE(FindLink("va")->up);
  EXPECT_THAT(Marked(), UnorderedElementsAre("va"));
  kill(elsewhere, SIGKILL);
  waitpid(elsewhere, nullptr, 0);
}

TEST_F(AdoptTest, WhatIsNotOursIsLeftAlone) {
  ASSERT_OK(CreateTap("ta", 1500, kMark));
  ASSERT_OK(CreateTap("tb", 1500));
  ASSERT_OK(CreateVeth("va", "vb", 1500, kMark));
  TapQueues queues;
  ASSERT_EQ(queues.Attach("tm", IFF_MULTI_QUEUE), 0);
  ASSERT_TRUE(Ip(absl::StrCat("link set tm alias '", kMark, "'")));
  EXPECT_REFUSED(AdoptTap("ta", 3000, "vmqd 0123456789abcdef vm2"), StatusCode::kAlreadyExists,
                 "is marked \"vmqd 0123456789abcdef vm1\"");
  EXPECT_REFUSED(AdoptTap("tb", 3000, kMark), StatusCode::kAlreadyExists, "is not marked");
  EXPECT_REFUSED(AdoptTap("va", 3000, kMark), StatusCode::kAlreadyExists, "is not a tap");
  EXPECT_REFUSED(AdoptTap("tm", 3000, kMark), StatusCode::kAlreadyExists, "is not a tap");
  EXPECT_REFUSED(AdoptVeth("ta", 3000, kMark), StatusCode::kAlreadyExists, "`ip link del ta`");
  EXPECT_REFUSED(AdoptVeth("vb", 3000, kMark), StatusCode::kAlreadyExists, "is not marked");
  EXPECT_REFUSED(AdoptTap("gone", 3000, kMark), StatusCode::kNotFound, "device gone");
  EXPECT_REFUSED(AdoptVeth("gone", 3000, kMark), StatusCode::kNotFound, "device gone");
  for (const char* device : {"ta", "tb", "va", "vb", "tm"}) {
    EXPECT_EQ(FindLink(device)->mtu, 1500u) << device;
  }
}

// Between the making of a pair and its mark there is a moment; who dies in it leaves the group.
TEST_F(AdoptTest, AnUnfinishedPairIsOurs) {
  const auto half = [](const std::string& name, const std::string& peer) {
    return Ip(absl::StrCat("link add ", name, " group ", GroupOfMark(kMark),
                           " type veth peer name ", peer));
  };
  ASSERT_TRUE(half("va", "vb") && half("vc", "vd"));
  ASSERT_OK(CreateVeth("ve", "vf", 1500, kMark));
  EXPECT_THAT(Marked(), UnorderedElementsAre("va", "vc", "ve"));
  EXPECT_THAT(Marked("vmqd 0000000000000000 "), IsEmpty());
  EXPECT_REFUSED(AdoptVeth("va", 1500, "vmqd 0000000000000000 vm1"), StatusCode::kAlreadyExists,
                 "is not marked");
  ASSERT_OK(AdoptVeth("va", 1400, kMark));
  EXPECT_EQ(FindLink("va")->alias, kMark);
  EXPECT_EQ(LookUpLink("va")->group, 0u);
  EXPECT_EQ(FindLink("va")->mtu, 1400u);
  EXPECT_TRUE(FindLink("va")->carrier);
  EXPECT_TRUE(FindLink("vb")->up);
  EXPECT_TRUE(Active("vb", "rx-gro"));
}

TEST_F(AdoptTest, AMarkThatIsTooLongMakesNothing) {
  const std::string mark = kPrefix + std::string(255, 'x');
  EXPECT_FALSE(CreateTap("ta", 1500, mark).ok());
  EXPECT_FALSE(CreateVeth("va", "vb", 1500, mark).ok());
  EXPECT_FALSE(FindLink("ta").ok());
  EXPECT_FALSE(FindLink("va").ok());
}

}  // namespace
}  // namespace vmqd
