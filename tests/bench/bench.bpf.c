// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//
// The kernel's side of the benchmarks: the sender on the wire, the VM that counts and drops what it
// receives, and the program that feeds the bare AF_XDP loop. Loaded by traffic.cc and bare_loop.cc.
#include "vmlinux.h"

#include <bpf/bpf_helpers.h>

#include "load.h"

#define BENCH_TC_SHOT 2

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

struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(max_entries, BENCH_BUCKETS);
  __type(key, __u32);
  __type(value, __u64);
} round_trips SEC(".maps");

/* Of the one sender; written while it does not run. */
struct bench_load load;
__u64 sent;

/* Run with live frames of load.size, or, for IMIX, of BENCH_LONGEST: every frame that is due leaves on the wire. */
SEC("xdp")
int bench_send(struct xdp_md* ctx) {
  __u32 key = BENCH_SENT;
  struct bench_tally* tally = bpf_map_lookup_elem(&tallies, &key);
  __u64 now = load.rate || load.probe_each ? bpf_ktime_get_ns() : 0;
  __u32 size = bench_size(&load, sent);
  __u8* data;

  if (!tally || (load.rate && !bench_due(&load, sent, now))) return XDP_DROP;
  if (!load.size && bpf_xdp_adjust_tail(ctx, (int)size - BENCH_LONGEST)) return XDP_DROP;
  data = (void*)(long)ctx->data;
  if ((void*)(data + BENCH_STAMPED) > (void*)(long)ctx->data_end) return XDP_DROP;
  bench_stamp(&load, sent, size, now, data);
  sent++;
  tally->pkts++;
  tally->octets += size;
  return XDP_TX;
}

static __always_inline void count_round_trip(__u64 sent_ns) {
  __u32 key = bench_bucket(bpf_ktime_get_ns() - sent_ns);
  __u64* count = bpf_map_lookup_elem(&round_trips, &key);

  if (count) __sync_fetch_and_add(count, 1);
}

/* A VM, or the wire: on the ingress of its own interface. Only the benchmark's frames count. */
SEC("tc")
int bench_receive(struct __sk_buff* skb) {
  __u32 key = BENCH_RECEIVED, port;
  struct bench_tally* tally = bpf_map_lookup_elem(&tallies, &key);
  __u64 now = bpf_ktime_get_ns(), sent_ns;
  __u8* data;

  /* Of a jumbo frame from a packet socket nothing may be here yet. */
  data = (void*)(long)skb->data;
  if ((void*)(data + BENCH_STAMPED) > (void*)(long)skb->data_end) {
    bpf_skb_pull_data(skb, BENCH_STAMPED);
    data = (void*)(long)skb->data;
  }
  if (!tally || (void*)(data + BENCH_STAMPED) > (void*)(long)skb->data_end) return BENCH_TC_SHOT;
  port = data[36] << 8 | data[37];
  if (port == BENCH_ECHO) {
    __builtin_memcpy(&sent_ns, data + BENCH_HEADERS, sizeof(sent_ns));
    count_round_trip(sent_ns);
    return BENCH_TC_SHOT;
  }
  if (port != BENCH_DATA && port != BENCH_PROBE) return BENCH_TC_SHOT;
  tally->pkts++;
  tally->octets += skb->len;
  if (!tally->first_ns) tally->first_ns = now;
  tally->last_ns = now;
  if (port == BENCH_DATA) return BENCH_TC_SHOT;
  bench_turn(data);
  return (int)bpf_redirect(skb->ifindex, 0);
}

SEC("xdp")
int bench_to_socket(struct xdp_md* ctx) { return bpf_redirect_map(&sockets, 0, XDP_DROP); }

char LICENSE[] SEC("license") = "GPL";
