// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//
// The classifier of an uplink. It decides, for every frame a hardware queue receives, between the
// VM's own socket, the queue's default socket and the host's own stack; the verdict table is in
// bpf/README.md and tests/bpf runs it row by row against this very object.
//
// Must stay true: a frame goes to a socket only when that socket is bound to the queue the frame
// came on. The kernel drops any other redirect and counts it nowhere (Linux 6.18, xsk_rcv_check).
#include "vmlinux.h"

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "parse.bpf.h"

char LICENSE[] SEC("license") = "GPL";

// Set before the program is loaded. Longest frame, tag included, that the AF_XDP sockets take.
const volatile __u32 max_frame_len = 1792;

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __uint(max_entries, VMQD_MAX_FILTERS);
  __type(key, struct vmqd_filter_key);
  __type(value, struct vmqd_filter);
} filters SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_XSKMAP);
  __uint(max_entries, VMQD_MAX_PORTS);
  __type(key, __u32);
  __type(value, __u32);
} vm_sockets SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_XSKMAP);
  __uint(max_entries, VMQD_MAX_QUEUES);
  __type(key, __u32);
  __type(value, __u32);
} queue_sockets SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct vmqd_uplink_counters);
} uplink_counters SEC(".maps");

// A VM's frame: into its own socket where it has one, into the queue's default socket anywhere else. When
// the socket is not open the map look-up fails and the fallback action, XDP_DROP, is returned: what
// belongs to a VM never reaches the host stack.
static __always_inline int to_vm(struct xdp_md* ctx, struct vmqd_uplink_counters* counters,
                                 const struct vmqd_filter* filter) {
  __u32 queue = ctx->rx_queue_index;
  __u32 home = filter->home_queue;
  __u32 pair = queue >= home ? queue - home : queue + filter->queues - home;
  int verdict;

  if (bpf_xdp_get_buff_len(ctx) > max_frame_len)
    return VMQD_DROP(counters, VMQD_DROP_FRAME_TOO_LARGE);
  if (filter->slot == VMQD_NO_SLOT) return VMQD_DROP(counters, VMQD_DROP_NO_SOCKET);
  if (pair < filter->pairs) {
    verdict = bpf_redirect_map(&vm_sockets, filter->slot + pair, XDP_DROP);
    if (verdict == XDP_REDIRECT) counters->to_vm++;
  } else {
    verdict = bpf_redirect_map(&queue_sockets, queue, XDP_DROP);
    if (verdict == XDP_REDIRECT) counters->misplaced++;
  }
  return verdict == XDP_REDIRECT ? verdict : VMQD_DROP(counters, VMQD_DROP_NO_SOCKET);
}

SEC("xdp.frags")
int vmqd_uplink(struct xdp_md* ctx) {
  __u32 zero = 0;
  struct vmqd_uplink_counters* counters = bpf_map_lookup_elem(&uplink_counters, &zero);
  struct vmqd_filter_key key = {};
  struct vmqd_headers headers;
  struct vmqd_filter* filter;
  int reason;

  if (!counters) return XDP_ABORTED;  // cannot happen: the array has entry 0
  counters->received++;
  reason = vmqd_parse(ctx, &headers);
  if (reason == VMQD_DROP_RUNT) return VMQD_DROP(counters, VMQD_DROP_RUNT);
  if (reason >= 0) return VMQD_DROP(counters, VMQD_DROP_TRUNCATED_TAG);
  if (vmqd_is_multicast(headers.eth) && !vmqd_is_reserved(headers.eth)) {
    counters->flooded++;
    return XDP_PASS;
  }
  __builtin_memcpy(key.mac, headers.eth->h_dest, sizeof(key.mac));
  key.vlan = headers.vlan;
  filter = bpf_map_lookup_elem(&filters, &key);
  if (filter) return to_vm(ctx, counters, filter);
  counters->to_host++;
  return XDP_PASS;
}
