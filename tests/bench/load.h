/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
 *
 * What the senders of the benchmarks put into their frames: the one in the kernel (bench.bpf.c) and
 * those of e2e/ends.cc. A frame is Ethernet, IPv4 and UDP between addresses of 198.18.0.0/15 (RFC
 * 2544, benchmarks); its UDP port says what is to become of it. No checksum depends on the flow or
 * the length: what one field gains, the identification loses.
 * Include it behind vmlinux.h or linux/types.h. C and C++.
 */
#ifndef VMQD_TESTS_BENCH_LOAD_H_
#define VMQD_TESTS_BENCH_LOAD_H_

enum {
  BENCH_DATA = 9,       /* UDP ports: is counted and dropped, */
  BENCH_PROBE = 10,     /* is counted and goes back, */
  BENCH_ECHO = 11,      /* is the answer: the time it took is counted */
  BENCH_HEADERS = 42,   /* bytes; the time of sending follows, in ns */
  BENCH_STAMPED = 50,   /* bytes that a sender writes */
  BENCH_WIRE = 0xfffe,  /* address of what is behind the NIC, as `from` or `to` */
  BENCH_LONGEST = 1514, /* bytes, of IMIX */
  BENCH_BURST = 256,    /* frames a late sender catches up with; the others it leaves out */
  BENCH_BUCKETS = 1024, /* of round trip times, 16 to a doubling */
};

/* Address N is MAC 02:00:00:00 and N's two bytes. */
struct bench_load {
  __u64 start_ns;   /* the rate counts from here; the sender's to move */
  __u64 rate;       /* frames a second; 0: as fast as it goes */
  __u32 from, to;   /* addresses; `to` the first of `ports` ones */
  __u32 ports;      /* at least 1 */
  __u32 flows;      /* in all, dealt to the ports; each has one at least */
  __u32 size;       /* bytes without FCS; 0: IMIX */
  __u32 probe_each; /* every so manieth frame is a probe; 0: none */
};

/* IMIX: of twelve frames seven of 64 bytes, four of 590, one of 1514. */
static inline __u32 bench_size(const struct bench_load* load, __u64 number) {
  const __u32 place = (__u32)((number + number / 12) % 12);

  if (load->size) return load->size;
  return place == 11 ? BENCH_LONGEST : place % 3 == 1 ? 590 : 64;
}

static inline void bench_put(__u8* at, __u32 value) {
  at[0] = (__u8)(value >> 8);
  at[1] = (__u8)value;
}

/* Writes headers and time into the first BENCH_STAMPED bytes of a frame of `size`. */
static inline void bench_stamp(const struct bench_load* load, __u64 number, __u32 size,
                               __u64 now_ns, __u8* frame) {
  const __u32 flow = (__u32)(number % (load->flows > load->ports ? load->flows : load->ports));
  const __u32 network = flow / 60000; /* ports do not reach for more */
  const __u32 probe = load->probe_each && number % load->probe_each == 0;
  const __u32 sum = 0x4500 + 40000 + 0x4011 + 0xc612 + 1 + 0xc613 + 1;

  bench_put(frame, 0x0200);
  bench_put(frame + 2, 0);
  bench_put(frame + 4, load->to + flow % load->ports);
  bench_put(frame + 6, 0x0200);
  bench_put(frame + 8, 0);
  bench_put(frame + 10, load->from);
  bench_put(frame + 12, 0x0800);
  bench_put(frame + 14, 0x4500);
  bench_put(frame + 16, size - 14);
  bench_put(frame + 18, 40000 - (size - 14) - network);
  bench_put(frame + 20, 0);
  bench_put(frame + 22, 0x4011); /* TTL, UDP */
  bench_put(frame + 24, ~((sum & 0xffff) + (sum >> 16)));
  bench_put(frame + 26, 0xc612);
  bench_put(frame + 28, 1 + network);
  bench_put(frame + 30, 0xc613);
  bench_put(frame + 32, 1);
  bench_put(frame + 34, 1024 + flow % 60000);
  bench_put(frame + 36, probe ? BENCH_PROBE : BENCH_DATA);
  bench_put(frame + 38, size - 34);
  bench_put(frame + 40, 0); /* no checksum */
  __builtin_memcpy(frame + BENCH_HEADERS, &now_ns, sizeof(now_ns));
}

static inline void bench_swap(__u8* a, __u8* b, int bytes) {
  for (int i = 0; i < bytes; i++) {
    const __u8 kept = a[i];
    a[i] = b[i];
    b[i] = kept;
  }
}

/* Makes a probe the answer to itself. */
static inline void bench_turn(__u8* frame) {
  bench_swap(frame, frame + 6, 6);
  bench_swap(frame + 26, frame + 30, 4);
  bench_put(frame + 36, BENCH_ECHO);
}

/* How many of the frames that are due by now are still to be sent. A sender that is late by more
 * than a burst moves its start. */
static inline __u64 bench_due(struct bench_load* load, __u64 sent, __u64 now_ns) {
  const __u64 due = (now_ns - load->start_ns) * load->rate / 1000000000;

  if (due <= sent) return 0;
  if (due - sent <= BENCH_BURST) return due - sent;
  load->start_ns = now_ns - (sent + BENCH_BURST) * 1000000000 / load->rate;
  return BENCH_BURST;
}

/* Below BENCH_BUCKETS. */
static inline __u32 bench_bucket(__u64 ns) {
  __u32 exponent = 0;
  __u64 left = ns;

  for (__u32 shift = 32; shift; shift /= 2) {
    if (left >> shift) {
      left >>= shift;
      exponent += shift;
    }
  }
  return exponent < 4 ? (__u32)ns : exponent * 16 + (__u32)((ns >> (exponent - 4)) & 15);
}

#endif /* VMQD_TESTS_BENCH_LOAD_H_ */
