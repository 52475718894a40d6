// What `port show` tells about a vhost-user port.
#include "client/vhost_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <time.h>

#include <map>
#include <string>

#include "google/protobuf/text_format.h"

namespace vmqd::cli {
namespace {

using Details = std::map<std::string, std::string>;

Details DetailsOf(const std::string& text) {
  v1::Port port;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &port)) << text;
  Details details;
  for (auto& [label, value] : VhostDetails(port)) details[label] = value;
  return details;
}

TEST(VhostTextTest, Connected) {
  setenv("TZ", "UTC", 1);
  tzset();
  const Details details = DetailsOf(R"(
    kind: VHOST_USER queue_pairs: 4 effective_queue_pairs: 2
    effective_queue_pairs_reason: "the uplink has 2 queues" vhost_role: VMM_LISTENS
    counters { in_drops { reason: "runt" pkts: 2 } out_drops { reason: "port_full" pkts: 7 } }
    vhost {
      socket_path: "/run/vmqd/vhost-user/vm1.sock" connected: true since { seconds: 1 }
      features: "VIRTIO_F_VERSION_1" features: "VIRTIO_NET_F_CSUM" features: "VIRTIO_NET_F_GUEST_CSUM"
      features: "VIRTIO_NET_F_MRG_RXBUF" features: "VIRTIO_NET_F_STATUS"
      protocol_features: "MQ" protocol_features: "REPLY_ACK"
      offloads: "first" offloads: "second"
      memory_regions: 2 memory_bytes: 1073741824 memory_sealed: true logging: true
      rings { index: 0 size: 256 running: true enabled: true }
      rings { index: 3 size: 1024 }
      last_fault: "a descriptor out of range" last_fault_time { seconds: 61 nanos: 5000000 }
      connections: 3 faults: 1
    })");
  EXPECT_EQ(details.at("socket"), "/run/vmqd/vhost-user/vm1.sock");
  EXPECT_EQ(details.at("role"), "the VMM listens, vmqd connects");
  EXPECT_EQ(details.at("vmm"), "connected since 1970-01-01 00:00:01.000");
  EXPECT_EQ(details.at("connections"), "3, given up for a fault: 1");
  EXPECT_EQ(details.at("last fault"), "1970-01-01 00:01:01.005: a descriptor out of range");
  EXPECT_EQ(details.at("queue pairs"), "2, asked for 4: the uplink has 2 queues");
  EXPECT_EQ(details.at("rings"),
            "0 receives: 256 entries, running, enabled\n"
            "1 transmits: 1024 entries, stopped, disabled");
  EXPECT_EQ(details.at("features"),
            "VIRTIO_F_VERSION_1, VIRTIO_NET_F_CSUM, VIRTIO_NET_F_GUEST_CSUM,\n"
            "VIRTIO_NET_F_MRG_RXBUF, VIRTIO_NET_F_STATUS");
  EXPECT_EQ(details.at("protocol features"), "MQ, REPLY_ACK");
  EXPECT_EQ(details.at("offloads"), "first\nsecond");
  EXPECT_EQ(details.at("coalescing"), "on");
  EXPECT_EQ(details.at("memory"), "1 GiB in 2 regions, sealed, written pages are logged");
  EXPECT_EQ(details.at("drops by reason"), "in runt 2\nout port_full 7");
}

TEST(VhostTextTest, NobodyThere) {
  const Details details = DetailsOf(
      "kind: VHOST_USER queue_pairs: 1 effective_queue_pairs: 1 coalescing_off: true "
      "vhost { socket_path: '/s' }");
  EXPECT_EQ(details.at("role"), "vmqd listens, the VMM connects");
  EXPECT_EQ(details.at("vmm"), "not connected");
  EXPECT_EQ(details.at("queue pairs"), "1");
  EXPECT_EQ(details.at("coalescing"), "off");
  for (const char* label : {"rings", "features", "memory", "last fault", "drops by reason"}) {
    EXPECT_EQ(details.at(label), "") << label;
  }
}

}  // namespace
}  // namespace vmqd::cli
