// Rules, RSS contexts and indirection tables of NICs, on devices that have none: every device of
// this machine. What a device that has them does is tested in a VM, by tests/system/test_vmqnic.py.
#include <gmock/gmock.h>

#include "daemon/xdp/link.h"
#include "daemon/xdp/nic_contexts.h"
#include "daemon/xdp/nic_rules.h"
#include "daemon/xdp/nic_spread.h"
#include "daemon/xdp/setting.h"
#include "tests/link/own_veth.h"

namespace vmqd {
namespace {

using absl::StatusCode;
using ::testing::ElementsAre;

constexpr NicFilter kPlain{.mac = {{2, 0, 0, 0, 0, 1}}};
constexpr NicFilter kTagged{.mac = {{2, 0, 0, 0, 0, 1}}, .vlan = 20};

using NicTest = OwnVeth;

TEST_F(NicTest, WithoutRulesSaysSo) {
  EXPECT_REFUSED(SetRule("va", kPlain, {1}), StatusCode::kUnimplemented, "device va");
  EXPECT_REFUSED(RemoveRule("va", kTagged), StatusCode::kUnimplemented,
                 "no rules that send a MAC address to a queue");
  EXPECT_REFUSED(RuleQueues("va", kPlain), StatusCode::kUnimplemented, "device va");
  EXPECT_REFUSED(ReadRules("va"), StatusCode::kUnimplemented, "device va");
  EXPECT_REFUSED(CountRules("nosuch"), StatusCode::kNotFound, "device nosuch");
}

TEST_F(NicTest, WithoutContextsSaysSo) {
  EXPECT_REFUSED(ReadContexts("va"), StatusCode::kUnimplemented, "no RSS contexts");
  EXPECT_REFUSED(MakeContext("va", {0, 1}), StatusCode::kUnimplemented, "no RSS contexts");
  EXPECT_REFUSED(RemoveContext("va", {0, 1}), StatusCode::kUnimplemented, "no RSS contexts");
  EXPECT_REFUSED(SetRule("va", kPlain, {0, 1}), StatusCode::kUnimplemented, "no RSS contexts");
  EXPECT_REFUSED(ReadSetting("va", "context:0,1"), StatusCode::kUnimplemented, "device va");
  EXPECT_REFUSED(ReadSetting("va", "context:"), StatusCode::kInvalidArgument, "no list of queues");
}

TEST_F(NicTest, WithoutTableSaysSo) {
  EXPECT_REFUSED(ReadSpread("va"), StatusCode::kUnimplemented, "indirection table");
  EXPECT_REFUSED(WriteSpread("va", {0}), StatusCode::kUnimplemented, "indirection table");
}

TEST(NicFilterTest, IsTextAndBack) {
  EXPECT_EQ(DescribeFilter(kPlain), "02:00:00:00:00:01");
  EXPECT_EQ(DescribeFilter(kTagged), "02:00:00:00:00:01 vlan 20");
  for (const NicFilter& filter : {kPlain, kTagged}) {
    const auto parsed = ParseFilter(DescribeFilter(filter));
    ASSERT_OK(parsed);
    EXPECT_EQ(*parsed, filter);
  }
  EXPECT_REFUSED(ParseFilter("02:00:00:00:00:01 vlan x"), StatusCode::kInvalidArgument, "VLAN");
  EXPECT_REFUSED(ParseFilter("vlan 20"), StatusCode::kInvalidArgument, "vlan 20");
}

TEST(NicSpreadTest, IsToldAsShortAsItCanBe) {
  EXPECT_THAT(ShortestSpread({0, 1, 0, 1}), ElementsAre(0, 1));
  EXPECT_THAT(ShortestSpread({2, 5, 7, 2, 5, 7, 2, 5}), ElementsAre(2, 5, 7));
  EXPECT_THAT(ShortestSpread({3, 3, 3}), ElementsAre(3));
  EXPECT_THAT(ShortestSpread({0, 1, 0, 2}), ElementsAre(0, 1, 0, 2));
}

TEST(NicSettingTest, IsToldInWords) {
  EXPECT_EQ(DescribeSetting("rule:02:00:00:00:00:01", "none", "2,3"),
            "rule for 02:00:00:00:00:01: none -> queue 2,3");
  EXPECT_EQ(DescribeSetting("context:2,3", "none", "there"),
            "RSS context over queues 2,3: none -> there");
}

TEST(NicSpreadTest, IsTextAndBack) {
  const auto queues = ParseQueues("0,2,63");
  ASSERT_OK(queues);
  EXPECT_THAT(*queues, ElementsAre(0, 2, 63));
  EXPECT_EQ(FormatQueues(*queues), "0,2,63");
  EXPECT_REFUSED(ParseQueues(""), StatusCode::kInvalidArgument, "no list of queues");
  EXPECT_REFUSED(ParseQueues("0,-1"), StatusCode::kInvalidArgument, "no list of queues");
}

}  // namespace
}  // namespace vmqd
