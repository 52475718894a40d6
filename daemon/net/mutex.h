// std::mutex with thread-safety annotations. Not absl::Mutex, because Debian's Abseil is built
// without the thread sanitizer, which then sees none of its locking.
#ifndef VMQD_DAEMON_NET_MUTEX_H_
#define VMQD_DAEMON_NET_MUTEX_H_

#include <mutex>

#include "absl/base/thread_annotations.h"

namespace vmqd {

class ABSL_LOCKABLE Mutex {
 public:
  void lock() ABSL_EXCLUSIVE_LOCK_FUNCTION() { mutex_.lock(); }
  void unlock() ABSL_UNLOCK_FUNCTION() { mutex_.unlock(); }

 private:
  std::mutex mutex_;
};

class ABSL_SCOPED_LOCKABLE MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) ABSL_EXCLUSIVE_LOCK_FUNCTION(mutex) : mutex_(mutex) {
    mutex_.lock();
  }
  ~MutexLock() ABSL_UNLOCK_FUNCTION() { mutex_.unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mutex_;
};

}  // namespace vmqd

#endif  // VMQD_DAEMON_NET_MUTEX_H_
