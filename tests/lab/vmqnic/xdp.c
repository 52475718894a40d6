// SPDX-License-Identifier: GPL-2.0
/* XDP in the driver: one page a frame, with the headroom that programs expect. */
#include <linux/bpf_trace.h>
#include <linux/filter.h>
#include <linux/if_vlan.h>

#include "vmqnic.h"

#define FRAME_ROOM                                                                                 \
	(PAGE_SIZE - XDP_PACKET_HEADROOM - SKB_DATA_ALIGN(sizeof(struct skb_shared_info)))

u32 vmqnic_max_mtu(void)
{
	return FRAME_ROOM - VLAN_ETH_HLEN;
}

int vmqnic_bpf(struct net_device *dev, struct netdev_bpf *bpf)
{
	struct vmqnic *nic = netdev_priv(dev);
	struct bpf_prog *old;

	if (bpf->command != XDP_SETUP_PROG)
		return -EINVAL;
	old = rtnl_dereference(nic->program);
	rcu_assign_pointer(nic->program, bpf->prog);
	synchronize_net();
	if (old)
		bpf_prog_put(old);
	return 0;
}

/* A page with the frame in it, or false. The sk_buff is used up. */
static bool to_page(struct vmqnic_queue *queue, struct sk_buff *skb, struct xdp_buff *xdp)
{
	struct page *page = skb->len <= FRAME_ROOM ? dev_alloc_page() : NULL;

	if (page) {
		xdp_init_buff(xdp, PAGE_SIZE, &queue->rxq);
		xdp_prepare_buff(xdp, page_address(page), XDP_PACKET_HEADROOM, skb->len, true);
		skb_copy_bits(skb, 0, xdp->data, skb->len);
	}
	consume_skb(skb);
	return page;
}

/* The frame as `dev` receives it, or NULL; then the page is still the caller's. */
static struct sk_buff *to_skb(struct xdp_buff *xdp, struct net_device *dev)
{
	struct xdp_frame *frame = xdp_convert_buff_to_frame(xdp);

	return frame ? xdp_build_skb_from_frame(frame, dev) : NULL;
}

/* Runs the program. Uses the sk_buff up; what it returns goes to the stack. */
struct sk_buff *vmqnic_run_program(struct vmqnic_queue *queue, struct bpf_prog *program,
				   struct sk_buff *skb, bool *redirected)
{
	struct vmqnic *nic = queue->nic;
	struct xdp_buff xdp;
	u32 verdict;

	if (!to_page(queue, skb, &xdp)) {
		queue->dropped++;
		return NULL;
	}
	verdict = bpf_prog_run_xdp(program, &xdp);
	switch (verdict) {
	case XDP_PASS:
		skb = to_skb(&xdp, nic->dev);
		if (skb)
			return skb;
		break;
	case XDP_TX:
		skb = to_skb(&xdp, nic->wire);
		if (!skb)
			break;
		atomic64_inc(&nic->tx_packets);
		atomic64_add(skb->len + ETH_HLEN, &nic->tx_bytes);
		netif_rx(skb);
		return NULL;
	case XDP_REDIRECT:
		if (xdp_do_redirect(nic->dev, &xdp, program))
			break;
		*redirected = true;
		return NULL;
	case XDP_DROP:
		break;
	default:
		bpf_warn_invalid_xdp_action(nic->dev, program, verdict);
		fallthrough;
	case XDP_ABORTED:
		trace_xdp_exception(nic->dev, program, verdict);
	}
	put_page(virt_to_page(xdp.data_hard_start));
	queue->dropped++;
	return NULL;
}
