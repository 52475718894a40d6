// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
//
// The header cursor of both XDP programs: reads the Ethernet header and at most one 802.1Q tag, and
// says what it could not read as a drop reason. Nothing behind the tag is looked at.
#ifndef VMQD_BPF_PARSE_H_
#define VMQD_BPF_PARSE_H_

#include "abi.h"

#define VMQD_ETH_P_8021Q 0x8100
#define VMQD_VLAN_VID_MASK 0x0fff

// Formats of the wire, not of the kernel: the kernel's own structures would make every access a CO-RE
// relocation, and the pointer arithmetic that comes of it needs CAP_PERFMON.
struct vmqd_eth_header {
  __u8 h_dest[6];
  __u8 h_source[6];
  __u16 h_proto;
} __attribute__((packed));

struct vmqd_vlan_tag {
  __u16 h_vlan_TCI;
  __u16 h_proto;
} __attribute__((packed));

struct vmqd_headers {
  struct vmqd_eth_header* eth;
  __u16 vlan;  // VLAN id, host byte order; 0 when untagged or only priority-tagged
};

static __always_inline int vmqd_is_multicast(const struct vmqd_eth_header* eth) {
  return eth->h_dest[0] & 1;
}

// 01:80:c2:00:00:00 .. 0f: link-local protocols (STP, LACP, LLDP, 802.1X). IEEE 802.1Q-2018,
// table 8-1: a bridge never forwards them.
static __always_inline int vmqd_is_reserved(const struct vmqd_eth_header* eth) {
  const __u8* d = eth->h_dest;

  return d[0] == 0x01 && d[1] == 0x80 && d[2] == 0xc2 && d[3] == 0 && d[4] == 0 &&
         (d[5] & 0xf0) == 0;
}

// Counts a drop under a reason known at compile time, and is the verdict. The empty assembler
// statement keeps the compiler from merging two drops into one with a computed index: without
// CAP_PERFMON the verifier refuses variable offsets into a map value that come from several paths.
#define VMQD_DROP(counters, reason)              \
  ({                                             \
    (counters)->drops[reason]++;                 \
    asm volatile("" : : "i"(reason) : "memory"); \
    XDP_DROP;                                    \
  })

// Returns -1 when the headers are readable, else the vmqd_drop_reason.
static __always_inline int vmqd_parse(struct xdp_md* ctx, struct vmqd_headers* headers) {
  void* data = (void*)(long)ctx->data;
  void* end = (void*)(long)ctx->data_end;
  struct vmqd_eth_header* eth = data;
  struct vmqd_vlan_tag* tag;

  if ((void*)(eth + 1) > end) return VMQD_DROP_RUNT;
  headers->eth = eth;
  headers->vlan = 0;
  if (eth->h_proto != bpf_htons(VMQD_ETH_P_8021Q)) return -1;
  tag = (void*)(eth + 1);
  if ((void*)(tag + 1) > end) return VMQD_DROP_TRUNCATED_TAG;
  headers->vlan = bpf_ntohs(tag->h_vlan_TCI) & VMQD_VLAN_VID_MASK;
  return -1;
}

#endif  // VMQD_BPF_PARSE_H_
