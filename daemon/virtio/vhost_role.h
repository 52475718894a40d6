// Who listens on the socket of a vhost-user port. A value.
#ifndef VMQD_DAEMON_VIRTIO_VHOST_ROLE_H_
#define VMQD_DAEMON_VIRTIO_VHOST_ROLE_H_

namespace vmqd {

enum class VhostRole {
  kSwitchListens,  // the VMM connects, and connects again at will
  kVmmListens,     // we connect, and keep trying
};

}  // namespace vmqd

#endif  // VMQD_DAEMON_VIRTIO_VHOST_ROLE_H_
