// The descriptors of a multi-queue tap, one a queue, as a test that plays the hardware holds them.
#ifndef VMQD_TESTS_LINK_TAP_QUEUES_H_
#define VMQD_TESTS_LINK_TAP_QUEUES_H_

#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <vector>

namespace vmqd {

class TapQueues {
 public:
  TapQueues() = default;
  ~TapQueues() { CloseFrom(0); }
  TapQueues(const TapQueues&) = delete;
  TapQueues& operator=(const TapQueues&) = delete;

  // Attaches one more descriptor with these flags beside IFF_TAP | IFF_NO_PI; 0 or the errno.
  int Attach(const std::string& name, int flags) {
    const int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    if (fd < 0) return errno;
    ifreq request{};
    name.copy(request.ifr_name, sizeof(request.ifr_name) - 1);
    request.ifr_flags = static_cast<short>(IFF_TAP | IFF_NO_PI | flags);
    if (ioctl(fd, TUNSETIFF, &request) < 0) {
      const int error = errno;
      close(fd);
      return error;
    }
    descriptors_.push_back(fd);
    return 0;
  }

  // TUNSETOFFLOAD on the last one; 0 or the errno.
  int SetOffload(unsigned flags) {
    return ioctl(descriptors_.back(), TUNSETOFFLOAD, flags) < 0 ? errno : 0;
  }

  void CloseFrom(size_t first) {
    for (; descriptors_.size() > first; descriptors_.pop_back()) close(descriptors_.back());
  }

 private:
  std::vector<int> descriptors_;
};

}  // namespace vmqd

#endif  // VMQD_TESTS_LINK_TAP_QUEUES_H_
