// Interrupt: Ctrl-C ends a call, or a sleep, instead of the program. Once in a program; main's
// thread makes it.
#ifndef VMQD_CLIENT_INTERRUPT_H_
#define VMQD_CLIENT_INTERRUPT_H_

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <thread>

#include "grpcpp/client_context.h"

namespace vmqd::cli {

// Ends a call when the user has had enough. A signal handler may do next to nothing, so a thread
// waits for what it writes.
class Interrupt {
 public:
  Interrupt() : fd_(eventfd(0, EFD_CLOEXEC)) {
    signalled_fd = fd_;
    struct sigaction action {};
    action.sa_handler = [](int) {
      const uint64_t one = 1;
      [[maybe_unused]] const ssize_t written = write(signalled_fd, &one, sizeof(one));
    };
    sigaction(SIGINT, &action, nullptr);
    sigaction(SIGTERM, &action, nullptr);
    waiter_ = std::thread([this] { Wait(); });
  }
  ~Interrupt() {
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = write(fd_, &one, sizeof(one));
    waiter_.join();
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    close(fd_);
  }

  bool came() const { return came_; }

  // Sleeps until `deadline`, or until `key` (a descriptor, or -1) can be read, or it came. A signal
  // ends the sleep, too.
  void Sleep(std::chrono::steady_clock::time_point deadline, int key = -1) const {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    std::array<pollfd, 2> waits = {{{fd_, POLLIN, 0}, {key, POLLIN, 0}}};
    poll(waits.data(), waits.size(), static_cast<int>(std::max<int64_t>(left.count(), 0)));
  }

  // The call to end, or nullptr. It must outlive its being set.
  void Set(grpc::ClientContext* context) {
    const std::lock_guard lock(mutex_);
    context_ = context;
    if (came_ && context_ != nullptr) context_->TryCancel();
  }

 private:
  void Wait() {
    // A pipe whose reader has gone would be noticed by a write only, and that may be hours away.
    std::array<pollfd, 2> waits = {{{fd_, POLLIN, 0}, {STDOUT_FILENO, 0, 0}}};
    while (poll(waits.data(), waits.size(), -1) < 0 && errno == EINTR) {
    }
    came_ = true;
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = write(fd_, &one, sizeof(one));  // for Sleep
    const std::lock_guard lock(mutex_);
    if (context_ != nullptr) context_->TryCancel();
  }

  static inline std::atomic<int> signalled_fd = -1;
  const int fd_;
  std::atomic<bool> came_ = false;
  std::mutex mutex_;
  grpc::ClientContext* context_ = nullptr;
  std::thread waiter_;
};

}  // namespace vmqd::cli

#endif  // VMQD_CLIENT_INTERRUPT_H_
