// Offload features by name, and settings that are put back.
#include <gmock/gmock.h>

#include "daemon/xdp/device_settings.h"
#include "daemon/xdp/link.h"
#include "tests/support/own_namespace.h"

namespace vmqd {
namespace {

using absl::StatusCode;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

class FeaturesTest : public OwnNamespace {
 protected:
  void SetUp() override {
    OwnNamespace::SetUp();
    if (IsSkipped()) return;
    ASSERT_OK(CreateVeth("va", "vb", 1500));
  }
  static bool Active(std::string_view feature) {
    auto found = GetFeature("va", feature);
    EXPECT_OK(found);
    return found.ok() && found->active;
  }
};

TEST_F(FeaturesTest, DescribesFeatures) {
  auto gro = GetFeature("va", "rx-gro");
  ASSERT_OK(gro);
  EXPECT_TRUE(gro->known);
  EXPECT_FALSE(gro->active);  // off by default on veth
  EXPECT_TRUE(gro->changeable);
  auto fixed = GetFeature("va", "tx-lockless");  // never to be changed from user space
  if (fixed.ok() && !fixed->known) fixed = GetFeature("va", "rx-lro");
  ASSERT_OK(fixed);
  EXPECT_TRUE(fixed->known);
  EXPECT_FALSE(fixed->changeable);
  auto unknown = GetFeature("va", "no-such-feature");
  ASSERT_OK(unknown);
  EXPECT_FALSE(unknown->known);
}

TEST_F(FeaturesTest, SwitchesFeatures) {
  ASSERT_OK(SetFeature("va", "rx-gro", true));
  EXPECT_TRUE(Active("rx-gro"));
  ASSERT_OK(SetFeature("va", "rx-gro", true));
  ASSERT_OK(SetFeature("va", "rx-gro", false));
  EXPECT_FALSE(Active("rx-gro"));
}

TEST_F(FeaturesTest, RefusesWithReason) {
  EXPECT_REFUSED(SetFeature("va", "no-such-feature", false), StatusCode::kUnimplemented,
                 "`ethtool -k va`");
  EXPECT_REFUSED(SetFeature("va", "rx-lro", true), StatusCode::kFailedPrecondition,
                 "switching on feature rx-lro of device va: its driver has it fixed off");
  EXPECT_REFUSED(GetFeature("nosuch", "rx-gro"), StatusCode::kNotFound, "device nosuch");
  EXPECT_REFUSED(SetFeature("nosuch", "rx-gro", true), StatusCode::kNotFound, "device nosuch");
  EXPECT_REFUSED(GetFeature("a-name-of-sixteen", "rx-gro"), StatusCode::kNotFound, "sixteen");
}

TEST_F(FeaturesTest, SettingsArePutBackLastFirst) {
  ASSERT_TRUE(Active("rx-vlan-hw-parse"));
  {
    DeviceSettings settings;
    ASSERT_OK(settings.TurnOff("va", "rx-vlan-hw-parse"));
    ASSERT_OK(settings.TurnOff("va", "rx-vlan-hw-parse"));
    ASSERT_OK(settings.TurnOff("va", "rx-gro"));  // off already
    ASSERT_OK(settings.TurnOff("va", "no-such-feature"));
    ASSERT_OK(settings.SetMtu("va", 1500));  // has it already
    ASSERT_OK(settings.SetMtu("va", 9000));
    ASSERT_OK(settings.SetMtu("va", 4000));
    EXPECT_THAT(settings.changed(), ElementsAre("rx-vlan-hw-parse: on -> off", "mtu: 1500 -> 9000",
                                                "mtu: 9000 -> 4000"));
    EXPECT_FALSE(Active("rx-vlan-hw-parse"));
    EXPECT_EQ(FindLink("va")->mtu, 4000u);
    const DeviceSettings moved = std::move(settings);
    EXPECT_EQ(moved.changed().size(), 3u);
  }
  EXPECT_TRUE(Active("rx-vlan-hw-parse"));
  EXPECT_EQ(FindLink("va")->mtu, 1500u);
}

TEST_F(FeaturesTest, SettingsFollowARenamedDevice) {
  DeviceSettings settings;
  ASSERT_OK(settings.TurnOff("va", "rx-vlan-hw-parse"));
  ASSERT_TRUE(Ip("link set va down") && Ip("link set va name vx"));
  ASSERT_OK(CreateTap("va", 1500));
  ASSERT_OK(settings.Restore());
  auto renamed = GetFeature("vx", "rx-vlan-hw-parse");
  ASSERT_OK(renamed);
  EXPECT_TRUE(renamed->active);
  EXPECT_THAT(settings.changed(), IsEmpty());
}

TEST_F(FeaturesTest, SettingsLeaveWhatOthersChanged) {
  DeviceSettings settings;
  ASSERT_OK(settings.SetMtu("va", 9000));
  ASSERT_OK(SetLinkMtu(FindLink("va")->ifindex, 5000));
  ASSERT_OK(settings.Restore());
  EXPECT_EQ(FindLink("va")->mtu, 5000u);
}

TEST_F(FeaturesTest, SettingsOfAMissingDevicePassOver) {
  DeviceSettings settings;
  ASSERT_OK(settings.TurnOff("va", "rx-vlan-hw-parse"));
  ASSERT_OK(settings.SetMtu("va", 9000));
  ASSERT_OK(DeleteLink(FindLink("va")->ifindex));
  EXPECT_OK(settings.Restore());
  EXPECT_THAT(settings.changed(), IsEmpty());
  EXPECT_REFUSED(settings.TurnOff("va", "rx-gro"), StatusCode::kNotFound, "device va");
}

TEST_F(FeaturesTest, FixedOnCannotBeTurnedOff) {
  DeviceSettings settings;
  ASSERT_OK(GetFeature("lo", "tx-checksum-ip-generic"));
  EXPECT_REFUSED(settings.TurnOff("lo", "tx-checksum-ip-generic"), StatusCode::kFailedPrecondition,
                 "fixed on");
  EXPECT_THAT(settings.changed(), IsEmpty());
}

}  // namespace
}  // namespace vmqd
