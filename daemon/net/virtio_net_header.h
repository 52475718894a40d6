// <linux/virtio_net.h> for C++: the kernel's header names a member `class`, and those of Linux 6.1
// lack the USO type. Include this one instead.
#ifndef VMQD_DAEMON_NET_VIRTIO_NET_HEADER_H_
#define VMQD_DAEMON_NET_VIRTIO_NET_HEADER_H_

#include <linux/if_ether.h>
#include <linux/types.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_types.h>

// Everything that the header includes is included by now, so the keyword changes in it alone.
#define class class_
#include <linux/virtio_net.h>
#undef class

// UDP segmentation offload, VIRTIO 1.3, 5.1.3.
#ifndef VIRTIO_NET_F_HOST_USO
#define VIRTIO_NET_F_GUEST_USO4 54
#define VIRTIO_NET_F_GUEST_USO6 55
#define VIRTIO_NET_F_HOST_USO 56
#endif
#ifndef VIRTIO_NET_HDR_GSO_UDP_L4
#define VIRTIO_NET_HDR_GSO_UDP_L4 5  // VIRTIO 1.3, 5.1.6
#endif

#endif  // VMQD_DAEMON_NET_VIRTIO_NET_HEADER_H_
