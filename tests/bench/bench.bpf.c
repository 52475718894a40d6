// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//
// The kernel's side of the benchmarks: the sender on the wire, the VM that counts and drops what it
// receives, and the program that feeds the bare AF_XDP loop. Loaded by traffic.cc and bare_loop.cc.
#include "vmlinux.h"
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define BENCH_TC_SHOT 2
#define BENCH_FLOWS 64
#define BENCH_UDP_SOURCE 34 /* offset: Ethernet and an IPv4 header without options before it */
#define BENCH_UDP_DISCARD 9

struct bench_tally {
  __u64 pkts;
  __u64 octets;
  __u64 first_ns; /* CLOCK_MONOTONIC; 0: none yet */
  __u64 last_ns;
};

enum { BENCH_RECEIVED, BENCH_SENT, BENCH_TALLIES };

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, BENCH_TALLIES);
  __type(key, __u32);
  __type(value, struct bench_tally);
} tallies SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_XSKMAP);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, __u32);
} sockets SEC(".maps");

__u32 next_flow;

/* Run with live frames: every frame leaves on the wire, from a changing UDP port. */
SEC("xdp")
int bench_send(struct xdp_md* ctx) {
  __u8* data = (void*)(long)ctx->data;
  __u32 key = BENCH_SENT;
  struct bench_tally* tally = bpf_map_lookup_elem(&tallies, &key);

  if (!tally || (void*)(data + BENCH_UDP_SOURCE + 8) > (void*)(long)ctx->data_end) return XDP_DROP;
  tally->pkts++;
  next_flow = (next_flow + 1) % BENCH_FLOWS;
  *(__be16*)(data + BENCH_UDP_SOURCE) = bpf_htons(1024 + next_flow);
  return XDP_TX;
}

/* The VM: on the ingress of its own interface. Only the benchmark's frames count. */
SEC("tc")
int bench_receive(struct __sk_buff* skb) {
  __u8* data = (void*)(long)skb->data;
  __u32 key = BENCH_RECEIVED;
  struct bench_tally* tally = bpf_map_lookup_elem(&tallies, &key);
  __u64 now = bpf_ktime_get_ns();

  if (!tally || (void*)(data + BENCH_UDP_SOURCE + 8) > (void*)(long)skb->data_end ||
      *(__be16*)(data + BENCH_UDP_SOURCE + 2) != bpf_htons(BENCH_UDP_DISCARD))
    return BENCH_TC_SHOT;
  tally->pkts++;
  tally->octets += skb->len;
  if (!tally->first_ns) tally->first_ns = now;
  tally->last_ns = now;
  return BENCH_TC_SHOT;
}

SEC("xdp")
int bench_to_socket(struct xdp_md* ctx) {
  return bpf_redirect_map(&sockets, 0, XDP_DROP);
}

char LICENSE[] SEC("license") = "GPL";
