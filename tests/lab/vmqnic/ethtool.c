// SPDX-License-Identifier: GPL-2.0
/* What ethtool asks of the card; rules and hash are in steering.c. */
#include <linux/ethtool.h>

#include "vmqnic.h"

static const char *const queue_counters[] = {"packets", "bytes", "drops", "missed"};

static void get_drvinfo(struct net_device *dev, struct ethtool_drvinfo *info)
{
	strscpy(info->driver, "vmqnic", sizeof(info->driver));
}

static void get_channels(struct net_device *dev, struct ethtool_channels *channels)
{
	channels->max_combined = VMQNIC_MAX_QUEUES;
	channels->combined_count = dev->real_num_rx_queues;
}

/* The table of a user who said something about it is his. */
static int set_channels(struct net_device *dev, struct ethtool_channels *channels)
{
	int err =
		netif_set_real_num_queues(dev, channels->combined_count, channels->combined_count);

	if (!err && !netif_is_rxfh_configured(dev))
		vmqnic_default_rss(netdev_priv(dev));
	return err;
}

static void get_ringparam(struct net_device *dev, struct ethtool_ringparam *ring,
			  struct kernel_ethtool_ringparam *kernel_ring,
			  struct netlink_ext_ack *extack)
{
	struct vmqnic *nic = netdev_priv(dev);

	ring->rx_max_pending = VMQNIC_MAX_RING;
	ring->rx_pending = nic->ring_size;
}

static int set_ringparam(struct net_device *dev, struct ethtool_ringparam *ring,
			 struct kernel_ethtool_ringparam *kernel_ring,
			 struct netlink_ext_ack *extack)
{
	return ring->rx_pending ? vmqnic_resize_rings(netdev_priv(dev), ring->rx_pending) : -EINVAL;
}

static int get_sset_count(struct net_device *dev, int set)
{
	return set == ETH_SS_STATS ? dev->real_num_rx_queues * ARRAY_SIZE(queue_counters)
				   : -EOPNOTSUPP;
}

static void get_strings(struct net_device *dev, u32 set, u8 *data)
{
	u32 i, counter;

	if (set != ETH_SS_STATS)
		return;
	for (i = 0; i < dev->real_num_rx_queues; i++)
		for (counter = 0; counter < ARRAY_SIZE(queue_counters); counter++)
			ethtool_sprintf(&data, "rx_queue_%u_%s", i, queue_counters[counter]);
}

static void get_stats(struct net_device *dev, struct ethtool_stats *stats, u64 *data)
{
	struct vmqnic *nic = netdev_priv(dev);
	u32 i;

	for (i = 0; i < dev->real_num_rx_queues; i++) {
		*data++ = nic->queues[i].packets;
		*data++ = nic->queues[i].bytes;
		*data++ = nic->queues[i].dropped;
		*data++ = atomic64_read(&nic->queues[i].missed);
	}
}

static u32 get_rxfh_key_size(struct net_device *dev)
{
	return VMQNIC_KEY;
}

static u32 get_rxfh_indir_size(struct net_device *dev)
{
	return VMQNIC_INDIR;
}

static int get_rxfh(struct net_device *dev, u32 *indir, u8 *key, u8 *hfunc)
{
	return vmqnic_get_rxfh_context(dev, indir, key, hfunc, 0);
}

static int set_rxfh(struct net_device *dev, const u32 *indir, const u8 *key, const u8 hfunc)
{
	u32 context = 0;

	return vmqnic_set_rxfh_context(dev, indir, key, hfunc, &context, false);
}

/*
 * ethtool --reset: the card forgets its rules and its indirection tables and says so to nobody; the
 * link stays, or comes back before anybody has looked.
 */
static int reset(struct net_device *dev, u32 *flags)
{
	struct vmqnic *nic = netdev_priv(dev);

	vmqnic_drop_rules(nic);
	vmqnic_drop_contexts(nic);
	vmqnic_default_rss(nic);
	*flags = 0;
	return 0;
}

const struct ethtool_ops vmqnic_ethtool_ops = {
	.get_drvinfo = get_drvinfo,
	.get_link = ethtool_op_get_link,
	.get_channels = get_channels,
	.set_channels = set_channels,
	.get_ringparam = get_ringparam,
	.set_ringparam = set_ringparam,
	.get_sset_count = get_sset_count,
	.get_strings = get_strings,
	.get_ethtool_stats = get_stats,
	.get_rxnfc = vmqnic_get_rxnfc,
	.set_rxnfc = vmqnic_set_rxnfc,
	.get_rxfh_key_size = get_rxfh_key_size,
	.get_rxfh_indir_size = get_rxfh_indir_size,
	.get_rxfh = get_rxfh,
	.set_rxfh = set_rxfh,
	.get_rxfh_context = vmqnic_get_rxfh_context,
	.set_rxfh_context = vmqnic_set_rxfh_context,
	.reset = reset,
};
