// SPDX-License-Identifier: GPL-2.0
/* Receive queues: what comes off the wire waits in a ring for the queue's NAPI instance. */
#include <linux/etherdevice.h>
#include <linux/filter.h>

#include "vmqnic.h"

static void destroy_skb(void *skb)
{
	kfree_skb(skb);
}

void vmqnic_free_rings(struct vmqnic *nic)
{
	int i;

	for (i = 0; i < VMQNIC_MAX_QUEUES; i++)
		if (nic->queues[i].ring.queue)
			ptr_ring_cleanup(&nic->queues[i].ring, destroy_skb);
}

/* On error some are made; vmqnic_free_rings knows. */
int vmqnic_make_rings(struct vmqnic *nic)
{
	int i, err;

	for (i = 0; i < VMQNIC_MAX_QUEUES; i++) {
		nic->queues[i].nic = nic;
		nic->queues[i].index = i;
		err = ptr_ring_init(&nic->queues[i].ring, nic->ring_size, GFP_KERNEL);
		if (err)
			return err;
	}
	return 0;
}

/* Frames for which there is no room any more are lost, as they would be on a real card. */
int vmqnic_resize_rings(struct vmqnic *nic, u32 size)
{
	int i, err;

	for (i = 0; i < VMQNIC_MAX_QUEUES; i++) {
		err = ptr_ring_resize(&nic->queues[i].ring, size, GFP_KERNEL, destroy_skb);
		if (err)
			return err;
	}
	nic->ring_size = size;
	return 0;
}

/* Off from here until the queue was polled, and nobody wants to poll it again soon. */
static void interrupt(struct vmqnic_queue *queue)
{
	if (xchg(&queue->interrupt, false))
		napi_schedule(&queue->napi);
}

static int poll(struct napi_struct *napi, int budget)
{
	struct vmqnic_queue *queue = container_of(napi, struct vmqnic_queue, napi);
	struct bpf_prog *program;
	bool redirected = false;
	struct sk_buff *skb;
	int done = 0;

	rcu_read_lock();
	program = rcu_dereference(queue->nic->program);
	while (done < budget && (skb = ptr_ring_consume(&queue->ring))) {
		done++;
		queue->packets++;
		queue->bytes += skb->len;
		if (program)
			skb = vmqnic_run_program(queue, program, skb, &redirected);
		else
			skb->protocol = eth_type_trans(skb, queue->nic->dev);
		if (!skb)
			continue;
		skb_record_rx_queue(skb, queue->index);
		napi_gro_receive(napi, skb);
	}
	if (redirected)
		xdp_do_flush();
	rcu_read_unlock();
	if (done < budget && napi_complete_done(napi, done)) {
		smp_store_mb(queue->interrupt, true);
		if (!__ptr_ring_empty(&queue->ring)) /* came before that */
			interrupt(queue);
	}
	return done;
}

/* What waits in its ring is lost. */
static void stop_queue(struct vmqnic_queue *queue)
{
	struct sk_buff *skb;

	napi_disable(&queue->napi);
	netif_napi_del(&queue->napi);
	xdp_rxq_info_unreg(&queue->rxq);
	while ((skb = ptr_ring_consume_bh(&queue->ring)))
		kfree_skb(skb);
}

static int start_queue(struct vmqnic_queue *queue)
{
	struct net_device *dev = queue->nic->dev;
	int err;

	netif_napi_add(dev, &queue->napi, poll);
	err = xdp_rxq_info_reg(&queue->rxq, dev, queue->index, queue->napi.napi_id);
	if (!err) {
		err = xdp_rxq_info_reg_mem_model(&queue->rxq, MEM_TYPE_PAGE_SHARED, NULL);
		if (err)
			xdp_rxq_info_unreg(&queue->rxq);
	}
	if (err)
		netif_napi_del(&queue->napi);
	else
		napi_enable(&queue->napi);
	queue->interrupt = true;
	return err;
}

/* All there can be, so that ethtool -L has nothing to start or stop. */
int vmqnic_start_queues(struct vmqnic *nic)
{
	int i, err;

	for (i = 0; i < VMQNIC_MAX_QUEUES; i++) {
		err = start_queue(&nic->queues[i]);
		if (err) {
			while (i--)
				stop_queue(&nic->queues[i]);
			return err;
		}
	}
	return 0;
}

void vmqnic_stop_queues(struct vmqnic *nic)
{
	int i;

	for (i = 0; i < VMQNIC_MAX_QUEUES; i++)
		stop_queue(&nic->queues[i]);
}

/* Takes a frame off the wire. Bottom halves are off. */
void vmqnic_receive(struct vmqnic *nic, struct sk_buff *skb)
{
	int index = vmqnic_steer(nic, skb);
	struct vmqnic_queue *queue = &nic->queues[index == VMQNIC_DISCARD ? 0 : index];

	skb_scrub_packet(skb, true); /* nothing of the sender's stack crosses the wire */
	skb_orphan(skb);
	if (!netif_carrier_ok(nic->dev) || index == VMQNIC_DISCARD ||
	    ptr_ring_produce(&queue->ring, skb)) {
		atomic64_inc(&queue->missed);
		kfree_skb(skb);
		return;
	}
	interrupt(queue);
}
