// Descriptors that a front end says are eventfds, checked before anybody reads or writes them. Pure
// but for the system calls; any thread.
#ifndef VMQD_DAEMON_VIRTIO_EVENT_FD_H_
#define VMQD_DAEMON_VIRTIO_EVENT_FD_H_

#include "absl/status/status.h"

namespace vmqd {

// kInvalidArgument, naming what it is instead, unless `fd` is an eventfd; from then on it does not
// block, for whoever else holds it either (who can change that again).
absl::Status AdoptEventFd(int fd);

}  // namespace vmqd

#endif  // VMQD_DAEMON_VIRTIO_EVENT_FD_H_
