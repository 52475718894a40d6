// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//
// What the XDP programs and the daemon say to each other: map keys, map values, counters and the
// drop reasons. The one header both sides include; every type is fixed width and its size is
// asserted, so that a layout can never differ between kernel and daemon.
#ifndef VMQD_BPF_ABI_H_
#define VMQD_BPF_ABI_H_

#ifndef __bpf__
#include <linux/types.h>
#endif

#ifdef __cplusplus
#define VMQD_ABI_ASSERT(cond, text) static_assert(cond, text)
#else
#define VMQD_ABI_ASSERT(cond, text) _Static_assert(cond, text)
#endif

// Every reason for which a frame is not delivered: X(ENUMERATOR, "name", "what happened").
// The name is what API, CLI, metrics and documentation say. A reason is counted where the frame is
// lost; which scope it is counted under is written in daemon/README.md.
#define VMQD_DROP_REASONS(X)                                                        \
  X(RUNT, "runt", "shorter than an Ethernet header")                                \
  X(TRUNCATED_TAG, "truncated_tag", "announces a VLAN tag but ends inside it")      \
  X(FRAME_TOO_LARGE, "frame_too_large", "longer than AF_XDP on it takes")           \
  X(NO_SOCKET, "no_socket", "the AF_XDP socket it belongs to is not open")          \
  X(RX_RING_FULL, "rx_ring_full", "the receive ring of its AF_XDP socket was full") \
  X(RX_NO_BUFFER, "rx_no_buffer", "the kernel had no fill buffer for it")           \
  X(RX_BACKLOG, "rx_backlog", "the packet socket it arrives on was full")           \
  X(RESERVED_MULTICAST, "reserved_multicast", "sent by a VM to 01:80:c2:00:00:0x")  \
  X(SPOOFED_SOURCE, "spoofed_source", "source MAC is not one of the port's")        \
  X(TAG_NOT_ALLOWED, "tag_not_allowed", "carries a VLAN tag on an access port")     \
  X(BAD_OFFLOAD, "bad_offload", "offload request that contradicts the frame")       \
  X(PORT_DISABLED, "port_disabled", "the port is administratively down")            \
  X(NO_DESTINATION, "no_destination", "nobody on this switch takes it")             \
  X(HAIRPIN, "hairpin", "its destination is the port that sent it")                 \
  X(MTU_EXCEEDED, "mtu_exceeded", "longer than the MTU of where it goes")           \
  X(NO_BUFFER, "no_buffer", "the worker had no free buffer for its copy")           \
  X(HANDOVER_FULL, "handover_full", "the other worker's hand-over ring was full")   \
  X(PORT_GONE, "port_gone", "its port was removed while it was on its way")         \
  X(PORT_DOWN, "port_down", "the port's device has no link")                        \
  X(PORT_FULL, "port_full", "the receiver does not keep up")                        \
  X(GUEST_BUFFER, "guest_buffer", "the guest's receive buffers cannot hold it")     \
  X(UPLINK_DOWN, "uplink_down", "the uplink has no link")                           \
  X(UPLINK_FULL, "uplink_full", "the uplink's transmit queue was full")             \
  X(DEVICE_REFUSED, "device_refused", "the device's driver refused it on transmit")

enum vmqd_drop_reason {
#define X(id, name, text) VMQD_DROP_##id,
  VMQD_DROP_REASONS(X)
#undef X
      VMQD_DROP_COUNT
};

enum {
  VMQD_MAX_QUEUES = 64,       // hardware queues of one uplink
  VMQD_MAX_PORTS = 4096,      // ports of the switch; also the slots of vm_sockets
  VMQD_MAX_FILTERS = 16384,   // (MAC, VLAN) filters of one uplink
  VMQD_MAX_PORT_QUEUES = 16,  // receive queues of one netdev port
  VMQD_NO_SLOT = VMQD_MAX_PORTS,
};

// Key of uplink.bpf.c `filters`. vlan is the VLAN id in host byte order, 0 for untagged.
struct vmqd_filter_key {
  __u8 mac[6];
  __u16 vlan;
};
VMQD_ABI_ASSERT(sizeof(struct vmqd_filter_key) == 8, "filter key is 8 bytes");

// Value of `filters`: the port's place. A port with several queue pairs has a socket on each of the
// queues home_queue, home_queue + 1, ... (behind the last comes queue 0), in as many slots.
struct vmqd_filter {
  __u32 slot;        // first index into vm_sockets; VMQD_NO_SLOT: the port does not run, drop
  __u32 home_queue;  // hardware queue the first slot's socket is bound to
  __u32 pairs;       // sockets
  __u32 queues;      // of the uplink
};
VMQD_ABI_ASSERT(sizeof(struct vmqd_filter) == 16, "filter value is 16 bytes");

// Counters of one uplink, one struct per CPU; all count frames, drops[] by enum vmqd_drop_reason.
// received = to_host + flooded + to_vm + misplaced + sum(drops).
struct vmqd_uplink_counters {
  __u64 received;
  __u64 to_host;    // nobody's or reserved: XDP_PASS, the switch never sees it
  __u64 flooded;    // broadcast and multicast: XDP_PASS, and the switch takes a copy
  __u64 to_vm;      // redirected into the VM's own socket
  __u64 misplaced;  // a VM's, but not on its home queue: redirected into the queue's default socket
  __u64 drops[VMQD_DROP_COUNT];
};

// Value of port.bpf.c `port_devices`, keyed by ifindex.
struct vmqd_port_device {
  __u32 slot;    // index into port_counters; socket of receive queue q is port_sockets[first + q]
  __u32 first;   // first index into port_sockets
  __u32 queues;  // how many receive queues have a socket
  __u32 max_frame_len;  // longest frame that its sockets take
};
VMQD_ABI_ASSERT(sizeof(struct vmqd_port_device) == 16, "port device is 16 bytes");

// Counters of one netdev port, one struct per CPU. received = to_switch + sum(drops).
struct vmqd_port_counters {
  __u64 received;
  __u64 to_switch;
  __u64 drops[VMQD_DROP_COUNT];
};

#endif  // VMQD_BPF_ABI_H_
