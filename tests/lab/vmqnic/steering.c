// SPDX-License-Identifier: GPL-2.0
/*
 * Which queue a frame is received on: the first rule that matches, else the hash. Module
 * parameters make the card as unhelpful as real ones are; they can be changed at any time.
 */
#include <linux/etherdevice.h>
#include <linux/if_vlan.h>
#include <linux/module.h>
#include <net/flow_dissector.h>
#include <net/xdp_sock_drv.h>

#include "vmqnic.h"

static bool refuse_rules;
module_param(refuse_rules, bool, 0644);
MODULE_PARM_DESC(refuse_rules, "a card that has no such rules");

static bool refuse_rules_while_bound;
module_param(refuse_rules_while_bound, bool, 0644);
MODULE_PARM_DESC(refuse_rules_while_bound, "no new rule while an AF_XDP socket is bound");

static unsigned int rule_limit = VMQNIC_RULES;
module_param(rule_limit, uint, 0644);
MODULE_PARM_DESC(rule_limit, "rules for which there is room");

static unsigned int rule_vlan_mask;
module_param(rule_vlan_mask, uint, 0644);
MODULE_PARM_DESC(rule_vlan_mask, "the one mask of a VLAN that is taken; 0: 0x0fff and 0xffff");

static bool rule_location_any;
module_param(rule_location_any, bool, 0644);
MODULE_PARM_DESC(rule_location_any, "the card chooses the place of a rule, nobody else");

static bool refuse_contexts;
module_param(refuse_contexts, bool, 0644);
MODULE_PARM_DESC(refuse_contexts, "a card that has no RSS contexts");

static unsigned int context_limit = VMQNIC_CONTEXTS - 1;
module_param(context_limit, uint, 0644);
MODULE_PARM_DESC(context_limit, "RSS contexts for which there is room");

/* --- frames --- */

static bool matches(const struct ethtool_rx_flow_spec *flow, const struct vlan_ethhdr *header)
{
	if (!ether_addr_equal(flow->h_u.ether_spec.h_dest, header->h_dest))
		return false;
	if (!(flow->flow_type & FLOW_EXT))
		return true;
	return header->h_vlan_proto == htons(ETH_P_8021Q) &&
	       !((flow->h_ext.vlan_tci ^ header->h_vlan_TCI) & htons(VLAN_VID_MASK));
}

/* Addresses, and ports where there are some, as Toeplitz hashes them; 0 for anything else. */
static u32 hash_of(const struct sk_buff *skb, const u8 *key)
{
	const struct ethhdr *eth = (const struct ethhdr *)skb->data;
	u32 window = get_unaligned_be32(key);
	struct flow_keys keys = {};
	u8 input[36];
	u32 length, hash = 0;
	int i, bit;

	if (!__skb_flow_dissect(dev_net(skb->dev), skb, &flow_keys_dissector, &keys, skb->data,
				eth->h_proto, ETH_HLEN, skb_headlen(skb), 0))
		return 0;
	switch (keys.control.addr_type) {
	case FLOW_DISSECTOR_KEY_IPV4_ADDRS:
		length = sizeof(keys.addrs.v4addrs);
		break;
	case FLOW_DISSECTOR_KEY_IPV6_ADDRS:
		length = sizeof(keys.addrs.v6addrs);
		break;
	default:
		return 0;
	}
	memcpy(input, &keys.addrs, length);
	if (keys.ports.ports) {
		memcpy(input + length, &keys.ports.ports, 4);
		length += 4;
	}
	for (i = 0; i < length; i++) {
		for (bit = 7; bit >= 0; bit--) {
			if (input[i] & BIT(bit))
				hash ^= window;
			window = window << 1 | (key[i + 4] >> bit & 1);
		}
	}
	return hash;
}

/* The queue, or VMQNIC_DISCARD. */
int vmqnic_steer(struct vmqnic *nic, const struct sk_buff *skb)
{
	const struct vmqnic_rss *rss = &nic->rss[0];
	struct vlan_ethhdr header = {};
	u64 queue = 0;
	bool direct = false;
	int i;

	/* A frame without a tag may be shorter than one with. */
	if (skb_copy_bits(skb, 0, &header, min_t(u32, skb->len, sizeof(header))))
		return VMQNIC_DISCARD;
	spin_lock(&nic->steering);
	for (i = 0; nic->rule_count && i < VMQNIC_RULES; i++) {
		const struct vmqnic_rule *rule = &nic->rules[i];

		if (!rule->used || !matches(&rule->flow, &header))
			continue;
		queue = rule->flow.ring_cookie;
		direct = !(rule->flow.flow_type & FLOW_RSS);
		rss = &nic->rss[rule->context];
		break;
	}
	if (!direct)
		queue += rss->indir[hash_of(skb, rss->key) % VMQNIC_INDIR];
	spin_unlock(&nic->steering);
	if (queue == RX_CLS_FLOW_DISC)
		return VMQNIC_DISCARD;
	return queue < nic->dev->real_num_rx_queues ? queue : 0;
}

/* --- rules --- */

void vmqnic_drop_rules(struct vmqnic *nic)
{
	spin_lock_bh(&nic->steering);
	memset(nic->rules, 0, sizeof(nic->rules));
	nic->rule_count = 0;
	spin_unlock_bh(&nic->steering);
}

static bool is_bound(struct net_device *dev)
{
	u32 i;

	for (i = 0; i < dev->real_num_rx_queues; i++)
		if (xsk_get_pool_from_qid(dev, i))
			return true;
	return false;
}

/* A destination MAC, and perhaps a VLAN; nothing else, and no parts of them. */
static int check_flow(const struct ethtool_rx_flow_spec *flow)
{
	const struct ethhdr *mask = &flow->m_u.ether_spec;

	if ((flow->flow_type & ~(FLOW_EXT | FLOW_RSS)) != ETHER_FLOW)
		return -EOPNOTSUPP;
	if (!is_broadcast_ether_addr(mask->h_dest) || !is_zero_ether_addr(mask->h_source) ||
	    mask->h_proto)
		return -EINVAL;
	if (!(flow->flow_type & FLOW_EXT))
		return 0;
	if (flow->m_ext.vlan_etype || flow->m_ext.data[0] || flow->m_ext.data[1])
		return -EINVAL;
	if (rule_vlan_mask)
		return ntohs(flow->m_ext.vlan_tci) == rule_vlan_mask ? 0 : -EINVAL;
	if (flow->m_ext.vlan_tci != htons(VLAN_VID_MASK) && flow->m_ext.vlan_tci != htons(0xffff))
		return -EINVAL;
	return 0;
}

static int check_action(struct vmqnic *nic, const struct ethtool_rxnfc *info)
{
	if (info->fs.ring_cookie != RX_CLS_FLOW_DISC &&
	    info->fs.ring_cookie >= nic->dev->real_num_rx_queues)
		return -EINVAL;
	if (!(info->fs.flow_type & FLOW_RSS))
		return 0;
	if (info->rss_context >= VMQNIC_CONTEXTS || !nic->rss[info->rss_context].used)
		return -EINVAL;
	return 0;
}

/* The place of a new rule, or an error. */
static int place_of(struct vmqnic *nic, u32 wanted)
{
	int i;

	if (!rule_location_any)
		return wanted < VMQNIC_RULES ? wanted : -EINVAL;
	if (wanted != RX_CLS_LOC_ANY)
		return -EINVAL;
	for (i = 0; i < VMQNIC_RULES; i++)
		if (!nic->rules[i].used)
			return i;
	return -ENOSPC;
}

static int insert_rule(struct vmqnic *nic, struct ethtool_rxnfc *info)
{
	struct vmqnic_rule *rule;
	int place, err;

	if (refuse_rules || !(nic->dev->features & NETIF_F_NTUPLE))
		return -EOPNOTSUPP;
	if (refuse_rules_while_bound && is_bound(nic->dev))
		return -EBUSY;
	err = check_flow(&info->fs);
	if (!err)
		err = check_action(nic, info);
	if (err)
		return err;
	place = place_of(nic, info->fs.location);
	if (place < 0)
		return place;
	rule = &nic->rules[place];
	if (!rule->used && nic->rule_count >= rule_limit)
		return -ENOSPC;
	info->fs.location = place;
	spin_lock_bh(&nic->steering);
	nic->rule_count += !rule->used;
	rule->used = true;
	rule->flow = info->fs;
	rule->context = info->fs.flow_type & FLOW_RSS ? info->rss_context : 0;
	spin_unlock_bh(&nic->steering);
	return 0;
}

static int delete_rule(struct vmqnic *nic, u32 place)
{
	if (place >= VMQNIC_RULES || !nic->rules[place].used)
		return -ENOENT;
	spin_lock_bh(&nic->steering);
	nic->rules[place].used = false;
	nic->rule_count--;
	spin_unlock_bh(&nic->steering);
	return 0;
}

int vmqnic_set_rxnfc(struct net_device *dev, struct ethtool_rxnfc *info)
{
	switch (info->cmd) {
	case ETHTOOL_SRXCLSRLINS:
		return insert_rule(netdev_priv(dev), info);
	case ETHTOOL_SRXCLSRLDEL:
		return delete_rule(netdev_priv(dev), info->fs.location);
	default:
		return -EOPNOTSUPP;
	}
}

static int get_rule(struct vmqnic *nic, struct ethtool_rxnfc *info)
{
	const struct vmqnic_rule *rule;

	if (info->fs.location >= VMQNIC_RULES || !nic->rules[info->fs.location].used)
		return -ENOENT;
	rule = &nic->rules[info->fs.location];
	info->fs = rule->flow;
	info->rss_context = rule->context;
	return 0;
}

static int get_locations(struct vmqnic *nic, struct ethtool_rxnfc *info, u32 *locations)
{
	u32 i, count = 0;

	for (i = 0; i < VMQNIC_RULES; i++) {
		if (!nic->rules[i].used)
			continue;
		if (count == info->rule_cnt)
			return -EMSGSIZE;
		locations[count++] = i;
	}
	info->rule_cnt = count;
	info->data = VMQNIC_RULES;
	return 0;
}

int vmqnic_get_rxnfc(struct net_device *dev, struct ethtool_rxnfc *info, u32 *locations)
{
	struct vmqnic *nic = netdev_priv(dev);

	switch (info->cmd) {
	case ETHTOOL_GRXRINGS:
		info->data = dev->real_num_rx_queues;
		return 0;
	case ETHTOOL_GRXCLSRLCNT:
		info->rule_cnt = nic->rule_count;
		info->data = VMQNIC_RULES | (rule_location_any ? RX_CLS_LOC_SPECIAL : 0);
		return 0;
	case ETHTOOL_GRXCLSRULE:
		return get_rule(nic, info);
	case ETHTOOL_GRXCLSRLALL:
		return get_locations(nic, info, locations);
	default:
		return -EOPNOTSUPP;
	}
}

/* --- the hash --- */

static void fill_equal(struct vmqnic *nic, struct vmqnic_rss *rss)
{
	int i;

	for (i = 0; i < VMQNIC_INDIR; i++)
		rss->indir[i] = ethtool_rxfh_indir_default(i, nic->dev->real_num_rx_queues);
}

/* As after a reset: every queue in use gets its share. */
void vmqnic_default_rss(struct vmqnic *nic)
{
	spin_lock_bh(&nic->steering);
	if (!nic->rss[0].used)
		netdev_rss_key_fill(nic->rss[0].key, VMQNIC_KEY);
	nic->rss[0].used = true;
	fill_equal(nic, &nic->rss[0]);
	spin_unlock_bh(&nic->steering);
}

/* Once no rule names them. */
void vmqnic_drop_contexts(struct vmqnic *nic)
{
	int i;

	for (i = 1; i < VMQNIC_CONTEXTS; i++)
		nic->rss[i].used = false;
}

int vmqnic_get_rxfh_context(struct net_device *dev, u32 *indir, u8 *key, u8 *hfunc, u32 context)
{
	struct vmqnic *nic = netdev_priv(dev);

	if (context && refuse_contexts)
		return -EOPNOTSUPP;
	if (context >= VMQNIC_CONTEXTS || !nic->rss[context].used)
		return -ENOENT;
	if (indir)
		memcpy(indir, nic->rss[context].indir, sizeof(nic->rss[context].indir));
	if (key)
		memcpy(key, nic->rss[context].key, VMQNIC_KEY);
	if (hfunc)
		*hfunc = ETH_RSS_HASH_TOP;
	return 0;
}

/* Not while a rule sends frames there. */
static int delete_context(struct vmqnic *nic, u32 context)
{
	int i;

	if (!context)
		return -EINVAL;
	for (i = 0; i < VMQNIC_RULES; i++)
		if (nic->rules[i].used && nic->rules[i].context == context)
			return -EBUSY;
	nic->rss[context].used = false;
	return 0;
}

/* A context that is free, and set up like the device's own. */
static int take_context(struct vmqnic *nic, u32 *context)
{
	u32 i;

	for (i = 1; i < VMQNIC_CONTEXTS && i <= context_limit; i++) {
		if (nic->rss[i].used)
			continue;
		nic->rss[i] = nic->rss[0];
		fill_equal(nic, &nic->rss[i]);
		*context = i;
		return 0;
	}
	return -ENOSPC;
}

int vmqnic_set_rxfh_context(struct net_device *dev, const u32 *indir, const u8 *key, const u8 hfunc,
			    u32 *context, bool delete)
{
	struct vmqnic *nic = netdev_priv(dev);
	struct vmqnic_rss *rss;

	if (*context && refuse_contexts)
		return -EOPNOTSUPP;
	if (hfunc != ETH_RSS_HASH_NO_CHANGE && hfunc != ETH_RSS_HASH_TOP)
		return -EOPNOTSUPP;
	if (*context == ETH_RXFH_CONTEXT_ALLOC) {
		if (delete)
			return -EINVAL;
		if (take_context(nic, context))
			return -ENOSPC;
	}
	if (*context >= VMQNIC_CONTEXTS || !nic->rss[*context].used)
		return -ENOENT;
	if (delete)
		return delete_context(nic, *context);
	rss = &nic->rss[*context];
	spin_lock_bh(&nic->steering);
	if (indir)
		memcpy(rss->indir, indir, sizeof(rss->indir));
	if (key)
		memcpy(rss->key, key, VMQNIC_KEY);
	spin_unlock_bh(&nic->steering);
	return 0;
}
