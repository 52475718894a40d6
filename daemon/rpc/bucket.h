// Bucket: how much of something may pass in a second, and at once. Values; the owner's thread.
#ifndef VMQD_DAEMON_RPC_BUCKET_H_
#define VMQD_DAEMON_RPC_BUCKET_H_

#include <algorithm>
#include <chrono>

namespace vmqd::rpc {

class Bucket {
 public:
  using Clock = std::chrono::steady_clock;

  // `rate` a second, `burst` at once; begins full.
  Bucket(double rate, double burst, Clock::time_point now = Clock::now())
      : rate_(rate), burst_(burst), level_(burst), filled_(now) {}

  // What may be taken now; negative: taken in advance.
  double Level(Clock::time_point now) {
    level_ =
        std::min(burst_, level_ + rate_ * std::chrono::duration<double>(now - filled_).count());
    filled_ = now;
    return level_;
  }
  // May take more than there is; the debt has to be waited for.
  void Take(double amount) { level_ -= amount; }

  bool Full(Clock::time_point now) { return Level(now) >= burst_; }

  // When there will be `wanted`, at most the burst.
  Clock::time_point Until(double wanted, Clock::time_point now) {
    const double missing = wanted - Level(now);
    if (missing <= 0) return now;
    return now + std::chrono::ceil<Clock::duration>(std::chrono::duration<double>(missing / rate_));
  }

 private:
  double rate_;
  double burst_;
  double level_;
  Clock::time_point filled_;
};

}  // namespace vmqd::rpc

#endif  // VMQD_DAEMON_RPC_BUCKET_H_
