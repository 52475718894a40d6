/* SPDX-License-Identifier: GPL-2.0 */
/*
 * vmqnic: a network card that tests can have in a virtual machine. It does in software what no
 * emulated card does: it sends frames to receive queues by rules (destination MAC, VLAN -> queue)
 * that are set with ethtool, and spreads the rest by a Toeplitz hash and an indirection table.
 *
 * It is a pair of devices. What is sent into vmqnic0-wire is received by vmqnic0, on the queue that
 * the rules of vmqnic0 say; what vmqnic0 sends is received by vmqnic0-wire. Each queue has its own
 * ring, NAPI instance and XDP receive queue. Written for Linux 6.1, the kernel of Debian 12.
 */
#ifndef VMQNIC_H
#define VMQNIC_H

#include <linux/bpf.h>
#include <linux/ethtool.h>
#include <linux/netdevice.h>
#include <linux/ptr_ring.h>
#include <linux/skbuff.h>
#include <linux/spinlock.h>
#include <net/xdp.h>

#define VMQNIC_MAX_QUEUES 16
#define VMQNIC_RULES 128  /* places in the table of rules */
#define VMQNIC_INDIR 128  /* entries of an indirection table */
#define VMQNIC_KEY 40	  /* bytes of a hash key: enough for IPv6 addresses and ports */
#define VMQNIC_CONTEXTS 8 /* RSS contexts; 0 is the device's own */
#define VMQNIC_RING 1024  /* frames, until ethtool -G says otherwise */
#define VMQNIC_MAX_RING 8192
#define VMQNIC_DISCARD (-1) /* in place of a queue */

struct vmqnic;

struct vmqnic_queue {
	struct vmqnic *nic;
	u32 index;
	struct napi_struct napi;
	struct xdp_rxq_info rxq;
	struct ptr_ring ring; /* of sk_buffs from the wire, Ethernet header at ->data */
	u64 packets;	      /* this and the next: written by NAPI only */
	u64 bytes;
	u64 dropped;	   /* by NAPI: the XDP program, no memory */
	atomic64_t missed; /* the ring was full, or a rule said so */
	int interrupt; /* on: the next frame raises it */
};

struct vmqnic_rule {
	bool used;
	struct ethtool_rx_flow_spec flow;
	u32 context; /* with FLOW_RSS */
};

struct vmqnic_rss {
	bool used;
	u32 indir[VMQNIC_INDIR];
	u8 key[VMQNIC_KEY];
};

struct vmqnic {
	struct net_device *dev;
	struct net_device *wire;
	struct bpf_prog __rcu *program;
	u32 ring_size;
	atomic64_t tx_packets;
	atomic64_t tx_bytes;
	struct vmqnic_queue queues[VMQNIC_MAX_QUEUES];

	spinlock_t steering; /* guards what follows; taken with bottom halves off */
	u32 rule_count;
	struct vmqnic_rule rules[VMQNIC_RULES]; /* by location; the first that matches counts */
	struct vmqnic_rss rss[VMQNIC_CONTEXTS];
};

/* main.c */
void vmqnic_to_wire(struct vmqnic *nic, struct sk_buff *skb);

/* rings.c */
int vmqnic_make_rings(struct vmqnic *nic);
void vmqnic_free_rings(struct vmqnic *nic);
int vmqnic_resize_rings(struct vmqnic *nic, u32 size);
int vmqnic_start_queues(struct vmqnic *nic);
void vmqnic_stop_queues(struct vmqnic *nic);
void vmqnic_receive(struct vmqnic *nic, struct sk_buff *skb);

/* xdp.c */
u32 vmqnic_max_mtu(void);
int vmqnic_bpf(struct net_device *dev, struct netdev_bpf *bpf);
struct sk_buff *vmqnic_run_program(struct vmqnic_queue *queue, struct bpf_prog *program,
				   struct sk_buff *skb, bool *redirected);

/* steering.c */
int vmqnic_steer(struct vmqnic *nic, const struct sk_buff *skb);
void vmqnic_drop_rules(struct vmqnic *nic);
void vmqnic_default_rss(struct vmqnic *nic);
void vmqnic_drop_contexts(struct vmqnic *nic);
int vmqnic_get_rxnfc(struct net_device *dev, struct ethtool_rxnfc *info, u32 *locations);
int vmqnic_set_rxnfc(struct net_device *dev, struct ethtool_rxnfc *info);
int vmqnic_get_rxfh_context(struct net_device *dev, u32 *indir, u8 *key, u8 *hfunc, u32 context);
int vmqnic_set_rxfh_context(struct net_device *dev, const u32 *indir, const u8 *key, const u8 hfunc,
			    u32 *context, bool delete);

/* ethtool.c */
extern const struct ethtool_ops vmqnic_ethtool_ops;

#endif
