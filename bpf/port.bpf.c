// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//
// The programs of netdev ports. `vmqd_port` hands every frame a VM or container sends to the
// AF_XDP socket of the receive queue it came on; one program serves all ports, which it tells apart
// by ifindex. `vmqd_fence` sits behind the packet socket of a tap port (tc ingress): the socket has
// its copy by then, and nothing a VM sends may reach the host stack.
#include "vmlinux.h"

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "parse.bpf.h"

#define TC_ACT_SHOT 2

char LICENSE[] SEC("license") = "GPL";

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, VMQD_MAX_PORTS);
  __type(key, __u32);
  __type(value, struct vmqd_port_device);
} port_devices SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_XSKMAP);
  __uint(max_entries, 4 * VMQD_MAX_PORTS);
  __type(key, __u32);
  __type(value, __u32);
} port_sockets SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, VMQD_MAX_PORTS);
  __type(key, __u32);
  __type(value, struct vmqd_port_counters);
} port_counters SEC(".maps");

SEC("xdp.frags")
int vmqd_port(struct xdp_md* ctx) {
  __u32 ifindex = ctx->ingress_ifindex;
  struct vmqd_port_device* device = bpf_map_lookup_elem(&port_devices, &ifindex);
  struct vmqd_port_counters* counters;
  struct vmqd_headers headers;
  int reason;

  if (!device) return XDP_DROP;  // attached, but its port is not (or no longer) on the switch
  counters = bpf_map_lookup_elem(&port_counters, &device->slot);
  if (!counters) return XDP_DROP;
  counters->received++;
  reason = vmqd_parse(ctx, &headers);
  if (reason == VMQD_DROP_RUNT) return VMQD_DROP(counters, VMQD_DROP_RUNT);
  if (reason >= 0) return VMQD_DROP(counters, VMQD_DROP_TRUNCATED_TAG);
  if (vmqd_is_reserved(headers.eth)) return VMQD_DROP(counters, VMQD_DROP_RESERVED_MULTICAST);
  if (bpf_xdp_get_buff_len(ctx) > device->max_frame_len)
    return VMQD_DROP(counters, VMQD_DROP_FRAME_TOO_LARGE);
  if (ctx->rx_queue_index >= device->queues ||
      bpf_redirect_map(&port_sockets, device->first + ctx->rx_queue_index, XDP_DROP) !=
          XDP_REDIRECT)
    return VMQD_DROP(counters, VMQD_DROP_NO_SOCKET);
  counters->to_switch++;
  return XDP_REDIRECT;
}

SEC("tc")
int vmqd_fence(struct __sk_buff* skb) { return TC_ACT_SHOT; }
