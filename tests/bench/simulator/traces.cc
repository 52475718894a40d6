// The generators. Only mt19937_64 itself is the same with every library, so no std distribution.
#include "tests/bench/simulator/traces.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <random>
#include <utility>

namespace vmqd::simulator {
namespace {

class Dice {
 public:
  explicit Dice(uint64_t seed) : engine_(seed) {}
  double Between(double low, double high) {
    return low + (high - low) * static_cast<double>(engine_() >> 11) * 0x1p-53;
  }
  bool Happens(double probability) { return Between(0, 1) < probability; }
  size_t Below(size_t end) { return engine_() % end; }

 private:
  std::mt19937_64 engine_;
};

// Calls `level(second, vm)` for all, adds noise.
template <typename Level>
Trace Make(const char* name, Dice& dice, double noise, Level level) {
  Trace trace{name, std::vector<float>(kDay * kVms)};
  for (size_t second = 0; second < kDay; ++second) {
    for (size_t vm = 0; vm < kVms; ++vm) {
      trace.demand[second * kVms + vm] =
          static_cast<float>(level(second, vm) * dice.Between(1 - noise, 1 + noise));
    }
  }
  return trace;
}

}  // namespace

Trace Steady() {
  Dice dice(1);
  std::array<double, kVms> level;
  const auto draw = [&](bool busy) {
    return busy ? dice.Between(0.35, 0.75) : dice.Between(0.01, 0.1);
  };
  for (size_t vm = 0; vm < kVms; ++vm) level[vm] = draw(vm < 10);
  return Make("steady", dice, 0.05, [&](size_t second, size_t vm) {
    if (vm == 0 && second > 0 && dice.Happens(1.0 / 600)) {
      // A busy and a quiet one change places: the sum stays about the same.
      std::swap(level[dice.Below(kVms)], level[dice.Below(kVms)]);
    }
    return level[vm];
  });
}

Trace Bursty() {
  Dice dice(2);
  std::array<double, kVms> height{};
  std::array<double, kVms> base;
  for (double& quiet : base) quiet = dice.Between(0.02, 0.06);
  return Make("bursty", dice, 0.1, [&](size_t, size_t vm) {
    if (height[vm] > 0) {
      if (dice.Happens(1.0 / 15)) height[vm] = 0;
    } else if (dice.Happens(1.0 / 150)) {
      height[vm] = dice.Between(0.3, 0.85);
    }
    return base[vm] + height[vm];
  });
}

Trace Diurnal() {
  Dice dice(3);
  struct Habit {
    double hour, width, height, base, drift = 1;
  };
  std::array<Habit, kVms> habits;
  for (size_t vm = 0; vm < kVms; ++vm) {
    const size_t part = dice.Below(8);
    habits[vm] = part < 5   ? Habit{dice.Between(10, 16), 3.5, dice.Between(0.1, 0.45), 0.02}
                 : part < 7 ? Habit{dice.Between(19, 22), 2, dice.Between(0.2, 0.6), 0.01}
                            : Habit{dice.Between(1, 5), 0.7, dice.Between(0.5, 0.85), 0.005};
  }
  return Make("diurnal", dice, 0.1, [&](size_t second, size_t vm) {
    Habit& habit = habits[vm];
    habit.drift = std::clamp(habit.drift + dice.Between(-0.02, 0.02), 0.6, 1.4);
    double hours = std::abs(static_cast<double>(second) / 3600 - habit.hour);
    hours = std::min(hours, 24 - hours) / habit.width;
    return habit.base + habit.drift * habit.height * std::exp(-hours * hours);
  });
}

Trace FlipFlop() {
  Dice dice(4);
  constexpr std::array<size_t, 5> kPeriods = {5, 15, 40, 70, 130};
  std::array<bool, kVms> half;
  for (size_t vm = 0; vm < kVms; ++vm) half[vm] = vm / kNodes % kQueuesPerNic < kQueuesPerNic / 2;
  size_t flip = 0;
  bool now = false;
  return Make("flip-flop", dice, 0.1, [&](size_t second, size_t vm) {
    if (vm == 0 && second % 3600 == 0 && second > 0) {
      for (size_t i = kVms - 1; i > 0; --i) std::swap(half[i], half[dice.Below(i + 1)]);
    }
    if (vm == 0 && second >= flip) {
      now = !now;
      flip = second + kPeriods[dice.Below(kPeriods.size())];
    }
    return half[vm] == now ? 0.3 : 0.01;
  });
}

}  // namespace vmqd::simulator
