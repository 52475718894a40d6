// SPDX-License-Identifier: GPL-2.0
/* The two network devices of a pair, and the module. */
#include <linux/etherdevice.h>
#include <linux/module.h>
#include <linux/platform_device.h>

#include "vmqnic.h"

static unsigned int queues = 4;
module_param(queues, uint, 0444);
MODULE_PARM_DESC(queues, "queues in use at first, 1-16");

static int node = NUMA_NO_NODE;
module_param(node, int, 0444);
MODULE_PARM_DESC(node, "NUMA node the card sits at; -1: it has no place in the machine");

static struct vmqnic *the_nic;
static struct platform_device *slot; /* where the card sits; NULL: nowhere */

static struct vmqnic *nic_of(struct net_device *wire)
{
	return *(struct vmqnic **)netdev_priv(wire);
}

/* There is a link when both ends are up. */
static void update_carrier(struct vmqnic *nic, bool both_up)
{
	if (both_up) {
		netif_carrier_on(nic->dev);
		netif_carrier_on(nic->wire);
	} else {
		netif_carrier_off(nic->dev);
		netif_carrier_off(nic->wire);
	}
}

static int nic_open(struct net_device *dev)
{
	struct vmqnic *nic = netdev_priv(dev);
	int err = vmqnic_start_queues(nic);

	if (!err)
		update_carrier(nic, nic->wire->flags & IFF_UP);
	return err;
}

/* As on most real cards, rules do not outlive it. */
static int nic_stop(struct net_device *dev)
{
	struct vmqnic *nic = netdev_priv(dev);

	update_carrier(nic, false);
	vmqnic_stop_queues(nic);
	vmqnic_drop_rules(nic);
	return 0;
}

/* Takes the frame, whatever becomes of it. */
void vmqnic_to_wire(struct vmqnic *nic, struct sk_buff *skb)
{
	atomic64_inc(&nic->tx_packets);
	atomic64_add(skb->len, &nic->tx_bytes);
	dev_forward_skb(nic->wire, skb);
}

static netdev_tx_t nic_xmit(struct sk_buff *skb, struct net_device *dev)
{
	vmqnic_to_wire(netdev_priv(dev), skb);
	return NETDEV_TX_OK;
}

static void nic_stats(struct net_device *dev, struct rtnl_link_stats64 *stats)
{
	struct vmqnic *nic = netdev_priv(dev);
	int i;

	stats->tx_packets = atomic64_read(&nic->tx_packets);
	stats->tx_bytes = atomic64_read(&nic->tx_bytes);
	for (i = 0; i < VMQNIC_MAX_QUEUES; i++) {
		stats->rx_packets += nic->queues[i].packets;
		stats->rx_bytes += nic->queues[i].bytes;
		stats->rx_dropped += nic->queues[i].dropped;
		stats->rx_missed_errors += atomic64_read(&nic->queues[i].missed);
	}
}

static int nic_set_features(struct net_device *dev, netdev_features_t features)
{
	if (!(features & NETIF_F_NTUPLE))
		vmqnic_drop_rules(netdev_priv(dev));
	return 0;
}

static const struct net_device_ops nic_ops = {
	.ndo_open = nic_open,
	.ndo_stop = nic_stop,
	.ndo_start_xmit = nic_xmit,
	.ndo_get_stats64 = nic_stats,
	.ndo_set_features = nic_set_features,
	.ndo_set_mac_address = eth_mac_addr,
	.ndo_bpf = vmqnic_bpf,
};

static int wire_open(struct net_device *wire)
{
	update_carrier(nic_of(wire), nic_of(wire)->dev->flags & IFF_UP);
	return 0;
}

static int wire_stop(struct net_device *wire)
{
	update_carrier(nic_of(wire), false);
	return 0;
}

static netdev_tx_t wire_xmit(struct sk_buff *skb, struct net_device *wire)
{
	dev_sw_netstats_tx_add(wire, 1, skb->len);
	vmqnic_receive(nic_of(wire), skb);
	return NETDEV_TX_OK;
}

static const struct net_device_ops wire_ops = {
	.ndo_open = wire_open,
	.ndo_stop = wire_stop,
	.ndo_start_xmit = wire_xmit,
	.ndo_get_stats64 = dev_get_tstats64,
	.ndo_set_mac_address = eth_mac_addr,
};

static void set_up(struct net_device *dev, const struct net_device_ops *ops)
{
	dev->netdev_ops = ops;
	dev->max_mtu = vmqnic_max_mtu();
	dev->features |= NETIF_F_LLTX;
	dev->priv_flags &= ~IFF_TX_SKB_SHARING;
	eth_hw_addr_random(dev);
	netif_carrier_off(dev);
}

static void free_pair(struct vmqnic *nic)
{
	vmqnic_free_rings(nic);
	if (nic->wire) {
		free_percpu(nic->wire->tstats);
		free_netdev(nic->wire);
	}
	free_netdev(nic->dev);
}

static int make_wire(struct vmqnic *nic)
{
	struct net_device *wire = alloc_etherdev(sizeof(struct vmqnic *));

	if (!wire)
		return -ENOMEM;
	nic->wire = wire;
	*(struct vmqnic **)netdev_priv(wire) = nic;
	strscpy(wire->name, "vmqnic0-wire", IFNAMSIZ);
	set_up(wire, &wire_ops);
	wire->tstats = netdev_alloc_pcpu_stats(struct pcpu_sw_netstats);
	return wire->tstats ? 0 : -ENOMEM;
}

/* Both ends, not registered. */
static struct vmqnic *make_pair(void)
{
	struct net_device *dev =
		alloc_etherdev_mqs(sizeof(struct vmqnic), VMQNIC_MAX_QUEUES, VMQNIC_MAX_QUEUES);
	struct vmqnic *nic;

	if (!dev)
		return NULL;
	nic = netdev_priv(dev);
	nic->dev = dev;
	nic->ring_size = VMQNIC_RING;
	spin_lock_init(&nic->steering);
	strscpy(dev->name, "vmqnic0", IFNAMSIZ);
	if (slot)
		SET_NETDEV_DEV(dev, &slot->dev);
	set_up(dev, &nic_ops);
	dev->ethtool_ops = &vmqnic_ethtool_ops;
	dev->hw_features |= NETIF_F_NTUPLE; /* off at first, as with most drivers */
	netif_set_real_num_queues(dev, queues, queues);
	vmqnic_default_rss(nic);
	if (make_wire(nic) || vmqnic_make_rings(nic)) {
		free_pair(nic);
		return NULL;
	}
	return nic;
}

/* Its node has to be known before it is added: sysfs shows it or not from then on. */
static bool make_slot(void)
{
	slot = platform_device_alloc("vmqnic", PLATFORM_DEVID_NONE);
	if (!slot)
		return false;
	set_dev_node(&slot->dev, node);
	if (!platform_device_add(slot))
		return true;
	platform_device_put(slot);
	slot = NULL;
	return false;
}

static int __init vmqnic_init(void)
{
	struct vmqnic *nic;
	int err;

	if (!queues || queues > VMQNIC_MAX_QUEUES)
		return -EINVAL;
	if (node != NUMA_NO_NODE && !make_slot())
		return -ENOMEM;
	nic = make_pair();
	if (!nic) {
		platform_device_unregister(slot);
		return -ENOMEM;
	}
	err = register_netdev(nic->dev);
	if (!err) {
		err = register_netdev(nic->wire);
		if (err)
			unregister_netdev(nic->dev);
	}
	if (!err) {
		the_nic = nic;
		return 0;
	}
	free_pair(nic);
	platform_device_unregister(slot);
	return err;
}
module_init(vmqnic_init);

/* The wire first: nothing is received any more when the card goes. */
static void __exit vmqnic_exit(void)
{
	unregister_netdev(the_nic->wire);
	unregister_netdev(the_nic->dev);
	free_pair(the_nic);
	platform_device_unregister(slot);
}
module_exit(vmqnic_exit);

MODULE_DESCRIPTION("Multi-queue test NIC with MAC and VLAN receive rules");
MODULE_LICENSE("GPL"); /* the kernel's name for GPL-2.0; its network interfaces are for that only */
