// Looking up, making, setting and deleting devices, and the sentences of what is refused.
#include "daemon/xdp/link.h"

#include <gmock/gmock.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "tests/link/tap_queues.h"
#include "tests/support/own_namespace.h"

namespace vmqd {
namespace {

using absl::StatusCode;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr int kNoSuchIndex = 99999;

class LinkTest : public OwnNamespace {};

TEST_F(LinkTest, FindsLoopbackByNameAndIndex) {
  auto by_name = FindLink("lo");
  ASSERT_OK(by_name);
  EXPECT_EQ(by_name->ifindex, 1);
  EXPECT_EQ(by_name->kind, "");
  EXPECT_EQ(by_name->mtu, 65536u);
  EXPECT_FALSE(by_name->up);
  auto by_index = FindLink(1);
  ASSERT_OK(by_index);
  EXPECT_EQ(by_index->name, "lo");
}

TEST_F(LinkTest, CreatesVethPairUpOnBothSides) {
  ASSERT_OK(CreateVeth("va", "vb", 2000));
  for (const char* name : {"va", "vb"}) {
    auto link = FindLink(name);
    ASSERT_OK(link);
    EXPECT_EQ(link->name, name);
    EXPECT_EQ(link->kind, "veth");
    EXPECT_EQ(link->mtu, 2000u);
    EXPECT_EQ(link->max_mtu, 65535u);
    EXPECT_TRUE(link->up);
    EXPECT_TRUE(link->carrier);
    EXPECT_EQ(link->queues, 1u);
    EXPECT_EQ(link->numa_node, -1);
    EXPECT_FALSE(link->mac.IsZero());
  }
  auto peer_gro = GetFeature("vb", "rx-gro");
  ASSERT_OK(peer_gro);
  EXPECT_TRUE(peer_gro->active);
}

std::string Ipv6Addresses() {
  std::stringstream addresses;
  addresses << std::ifstream("/proc/thread-self/net/if_inet6").rdbuf();
  return addresses.str();
}

TEST_F(LinkTest, KeptEndsGetNoIpv6Address) {
  if (!std::ifstream("/proc/thread-self/net/if_inet6")) GTEST_SKIP() << "this kernel has no IPv6";
  ASSERT_OK(CreateVeth("va", "vb", 1500));
  ASSERT_OK(CreateTap("ta", 1500));
  TapQueues queues;  // a tap has its carrier, hence its address, from a descriptor
  ASSERT_EQ(queues.Attach("ta", IFF_VNET_HDR), 0);
  ASSERT_EQ(queues.Attach("tb", 0), 0);
  ASSERT_OK(SetLinkUp(FindLink("tb")->ifindex));
  // The kernel gives addresses some time after the carrier came. Once the peer and the last tap,
  // which nobody asked to be silent, have theirs, the others would have had them before.
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  const auto both_have = [] {
    const std::string now = Ipv6Addresses();
    return now.find(" vb\n") != now.npos && now.find(" tb\n") != now.npos;
  };
  while (!both_have() && std::chrono::steady_clock::now() < deadline) usleep(1000);
  EXPECT_TRUE(both_have());
  EXPECT_THAT(Ipv6Addresses(), Not(HasSubstr(" va\n")));
  EXPECT_THAT(Ipv6Addresses(), Not(HasSubstr(" ta\n")));
}

TEST_F(LinkTest, MtuWithoutIpv6IsNoObstacle) { EXPECT_OK(CreateVeth("va", "vb", 1000)); }

TEST_F(LinkTest, CreatesPersistentSingleQueueTap) {
  ASSERT_OK(CreateTap("ta", 3000));
  auto link = FindLink("ta");
  ASSERT_OK(link);
  EXPECT_EQ(link->kind, "tun");
  EXPECT_EQ(link->mtu, 3000u);
  EXPECT_TRUE(link->up);
  EXPECT_FALSE(link->carrier);  // nobody has it open
  TapQueues queues;
  EXPECT_EQ(queues.Attach("ta", IFF_VNET_HDR | IFF_MULTI_QUEUE), EINVAL);
  ASSERT_EQ(queues.Attach("ta", IFF_VNET_HDR), 0);
  link = FindLink("ta");
  ASSERT_OK(link);
  EXPECT_TRUE(link->carrier);
  EXPECT_EQ(link->queues, 1u);
}

TEST_F(LinkTest, CountsQueuesOfVeth) {
  ASSERT_TRUE(
      Ip("link add va numtxqueues 4 numrxqueues 4 type veth peer name vb numtxqueues 4 "
         "numrxqueues 4"));
  auto down = FindLink("va");  // from ethtool's channels
  ASSERT_OK(down);
  EXPECT_EQ(down->queues, 4u);
  ASSERT_OK(SetLinkUp(down->ifindex));
  auto up = FindLink("va");  // from the netdev family
  ASSERT_OK(up);
  EXPECT_TRUE(up->up);
  EXPECT_FALSE(up->carrier);  // the peer is down
  EXPECT_EQ(up->queues, 4u);
}

TEST_F(LinkTest, CountsQueuesThatAnotherHandChanged) {
  ASSERT_TRUE(
      Ip("link add va numtxqueues 4 numrxqueues 4 type veth peer name vb numtxqueues 4 "
         "numrxqueues 4"));
  for (const bool up : {false, true}) {
    ASSERT_TRUE(Ip(up ? "link set va up" : "link set va down"));
    for (const uint32_t queues : {2u, 3u, 1u, 4u}) {
      const std::string number = std::to_string(queues);
      ASSERT_EQ(std::system(("ethtool -L va rx " + number).c_str()), 0);
      EXPECT_EQ(FindLink("va")->queues, queues) << (up ? "up" : "down");
    }
  }
}

TEST_F(LinkTest, CountsQueuesOfMultiQueueTap) {
  TapQueues queues;
  for (int i = 0; i < 4; ++i) ASSERT_EQ(queues.Attach("nic", IFF_MULTI_QUEUE), 0);
  auto link = FindLink("nic");  // down: from a sysfs of this namespace
  ASSERT_OK(link);
  EXPECT_EQ(link->queues, 4u);
  ASSERT_OK(SetLinkUp(link->ifindex));
  link = FindLink("nic");  // up: from the netdev family
  ASSERT_OK(link);
  EXPECT_EQ(link->queues, 4u);
  queues.CloseFrom(3);
  link = FindLink("nic");
  ASSERT_OK(link);
  EXPECT_EQ(link->queues, 3u);
}

TEST_F(LinkTest, ForeignSysfsIsNotBelieved) {
  // A device of the name, and here even of the index, of one that the mounted sysfs shows.
  for (const auto& entry : std::filesystem::directory_iterator("/sys/class/net")) {
    const std::string name = entry.path().filename();
    int foreign = 0;
    if (name == "lo" || !(std::ifstream(entry.path() / "ifindex") >> foreign)) continue;
    if (!Ip("link add name " + name + " index " + std::to_string(foreign) +
            " numrxqueues 7 numtxqueues 7 type bridge")) {
      GTEST_SKIP() << "this kernel makes no bridges";
    }
    auto link = FindLink(name);
    ASSERT_OK(link);
    EXPECT_EQ(link->ifindex, foreign);
    EXPECT_EQ(link->queues, 7u);
    EXPECT_EQ(link->numa_node, -1);
    return;
  }
  GTEST_SKIP() << "this machine has no device but lo";
}

TEST_F(LinkTest, SetsMacAndMtu) {
  ASSERT_OK(CreateVeth("va", "vb", 1500));
  const MacAddress mac{{0x52, 0x54, 0, 0, 0, 1}};
  const int ifindex = FindLink("va")->ifindex;
  ASSERT_OK(SetLinkMac(ifindex, mac));
  ASSERT_OK(SetLinkMtu(ifindex, 9000));
  auto link = FindLink(ifindex);
  ASSERT_OK(link);
  EXPECT_EQ(link->mac, mac);
  EXPECT_EQ(link->mtu, 9000u);
}

TEST_F(LinkTest, DeletesBothEnds) {
  ASSERT_OK(CreateVeth("va", "vb", 1500));
  ASSERT_OK(DeleteLink(FindLink("va")->ifindex));
  EXPECT_REFUSED(FindLink("va"), StatusCode::kNotFound, "device va: No such device");
  EXPECT_REFUSED(FindLink("vb"), StatusCode::kNotFound, "device vb: No such device");
}

TEST_F(LinkTest, MissingDevicesAreNotFound) {
  const MacAddress mac{{2, 0, 0, 0, 0, 1}};
  const std::string named = "device with index 99999: No such device";
  EXPECT_REFUSED(FindLink(kNoSuchIndex), StatusCode::kNotFound, named);
  EXPECT_REFUSED(DeleteLink(kNoSuchIndex), StatusCode::kNotFound, named);
  EXPECT_REFUSED(SetLinkUp(kNoSuchIndex), StatusCode::kNotFound, "device with index 99999 up: No");
  EXPECT_REFUSED(SetLinkMac(kNoSuchIndex, mac), StatusCode::kNotFound, "index 99999");
  EXPECT_REFUSED(SetLinkMtu(kNoSuchIndex, 1500), StatusCode::kNotFound, "index 99999");
  EXPECT_REFUSED(FindLink("a-name-of-sixteen"), StatusCode::kInvalidArgument, "1 to 15 bytes");
  EXPECT_REFUSED(FindLink(""), StatusCode::kInvalidArgument, "1 to 15 bytes");
}

TEST_F(LinkTest, TakenNamesAreNamedAndKept) {
  ASSERT_OK(CreateVeth("va", "vb", 1500));
  ASSERT_OK(CreateTap("ta", 1500));
  EXPECT_REFUSED(CreateVeth("va", "vc", 1500), StatusCode::kAlreadyExists, "a device va already");
  EXPECT_REFUSED(CreateVeth("vc", "vb", 1500), StatusCode::kAlreadyExists, "a device vb already");
  EXPECT_REFUSED(CreateVeth("vc", "ta", 1500), StatusCode::kAlreadyExists, "`ip link del ta`");
  EXPECT_REFUSED(CreateTap("va", 1500), StatusCode::kAlreadyExists, "a device va already");
  EXPECT_REFUSED(CreateTap("ta", 1500), StatusCode::kAlreadyExists, "a device ta already");
  EXPECT_REFUSED(FindLink("vc"), StatusCode::kNotFound, "vc");
  for (const char* name : {"va", "vb", "ta"}) EXPECT_OK(FindLink(name));
}

TEST_F(LinkTest, UnusableNamesAreRefused) {
  for (const char* name : {"", ".", "..", "a/b", "a b", "v%d", "a:b", "a-name-of-16-byt"}) {
    EXPECT_REFUSED(CreateTap(name, 1500), StatusCode::kInvalidArgument, "a name has 1 to 15");
    EXPECT_REFUSED(CreateVeth(name, "vb", 1500), StatusCode::kInvalidArgument, "a name has 1 to");
    EXPECT_REFUSED(CreateVeth("va", name, 1500), StatusCode::kInvalidArgument, "a name has 1 to");
  }
  EXPECT_REFUSED(CreateVeth("va", "va", 1500), StatusCode::kInvalidArgument, "different names");
  EXPECT_OK(CreateTap("fifteen-bytes-x", 1500));
}

TEST_F(LinkTest, ImpossibleMtuLeavesNothingBehind) {
  EXPECT_REFUSED(CreateVeth("va", "vb", 70000), StatusCode::kInvalidArgument, "70000");
  EXPECT_REFUSED(CreateTap("ta", 70000), StatusCode::kInvalidArgument, "at most");
  for (const char* name : {"va", "vb", "ta"}) {
    EXPECT_REFUSED(FindLink(name), StatusCode::kNotFound, name);
  }
  ASSERT_OK(CreateVeth("va", "vb", 1500));
  EXPECT_REFUSED(SetLinkMtu(FindLink("va")->ifindex, 70000), StatusCode::kInvalidArgument,
                 "(mtu greater than device maximum); it stays at 1500, the device takes at most "
                 "65535");
}

TEST_F(LinkTest, UnusableMacsAreRefused) {
  ASSERT_OK(CreateVeth("va", "vb", 1500));
  const int ifindex = FindLink("va")->ifindex;
  EXPECT_REFUSED(SetLinkMac(ifindex, MacAddress{}), StatusCode::kInvalidArgument, "unicast");
  EXPECT_REFUSED(SetLinkMac(ifindex, MacAddress{{1, 0, 0x5e, 0, 0, 1}}),
                 StatusCode::kInvalidArgument, "01:00:5e:00:00:01");
}

TEST_F(LinkTest, MissingPrivilegeIsSaid) {
  ASSERT_OK(CreateVeth("va", "vb", 1500));
  const int ifindex = FindLink("va")->ifindex;
  ASSERT_EQ(seteuid(65534), 0);
  const absl::Status mtu = SetLinkMtu(ifindex, 1400);
  const absl::Status veth = CreateVeth("vc", "vd", 1500);
  const absl::Status feature = SetFeature("vb", "rx-gro", false);
  ASSERT_EQ(seteuid(0), 0);
  EXPECT_REFUSED(mtu, StatusCode::kPermissionDenied, "CAP_NET_ADMIN");
  EXPECT_REFUSED(veth, StatusCode::kPermissionDenied, "CAP_NET_ADMIN");
  EXPECT_REFUSED(feature, StatusCode::kPermissionDenied, "CAP_NET_ADMIN");
}

}  // namespace
}  // namespace vmqd
