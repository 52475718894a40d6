// Every plan keeps the balancer's laws; random scenes, the same ones each time.
#include <gtest/gtest.h>

#include <cstdint>
#include <random>
#include <vector>

#include "tests/support/balancer_laws.h"

namespace vmqd {
namespace {

TEST(BalancerPropertyTest, RandomScenesKeepTheLaws) {
  size_t moved = 0;
  for (uint64_t seed = 0; seed < 3000; ++seed) {
    std::mt19937_64 random(seed);
    std::vector<uint8_t> bytes(20 + random() % 300);
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
    const Scene scene = testing::MakeScene(bytes);
    ASSERT_EQ(testing::BrokenLaw(scene), "") << "seed " << seed;
    moved += MakePlan(scene).moves.size();
  }
  EXPECT_GT(moved, 500);  // the scenes are worth something
}

}  // namespace
}  // namespace vmqd
