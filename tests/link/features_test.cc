// Offload features by name.
#include <gmock/gmock.h>

#include "daemon/xdp/link.h"
#include "tests/link/own_veth.h"

namespace vmqd {
namespace {

using absl::StatusCode;

class FeaturesTest : public OwnVeth {
 protected:
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

}  // namespace
}  // namespace vmqd
