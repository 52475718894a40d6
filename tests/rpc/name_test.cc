// Names: what is parsed comes out again, and nothing but the canonical spelling is parsed.
#include "daemon/rpc/name.h"

#include "gtest/gtest.h"
#include "tests/rpc/refusal.h"

namespace vmqd::rpc {
namespace {

const std::string k63(63, 'a');
const std::string k64(64, 'a');

TEST(Name, UplinkRoundTrip) {
  for (const std::string& id : {std::string("eth0"), std::string("en.p1_s0-np0"), std::string("0"),
                                std::string("Eth0"), k63}) {
    const auto parsed = ParseUplinkName(UplinkName(id), "name");
    ASSERT_TRUE(parsed.ok()) << id << ": " << parsed.status();
    EXPECT_EQ(*parsed, id);
    EXPECT_TRUE(CheckUplinkId(id, "uplink_id").ok());
  }
}

TEST(Name, MalformedUplinks) {
  for (const std::string& name :
       {std::string(), std::string("eth0"), std::string("uplinks"), std::string("uplinks/"),
        std::string("uplinks/-"), std::string("uplinks/."), std::string("uplinks/.."),
        std::string("uplinks/a/b"), std::string("uplinks/a b"), std::string("uplinks/a\n"),
        std::string("Uplinks/a"), std::string("/uplinks/a"), std::string("ports/a"),
        std::string("uplinks/a\0", 10), "uplinks/" + k64, std::string("uplinks/\xc3\xa9")}) {
    EXPECT_THAT(ParseUplinkName(name, "port.uplink").status(),
                IsInvalid("NAME_MALFORMED", "port.uplink"))
        << name;
  }
}

TEST(Name, PortRoundTrip) {
  for (const std::string& id : {std::string("vm1"), std::string("a"), std::string("a--"), k63}) {
    const auto parsed = ParsePortName(PortName(id), "name");
    ASSERT_TRUE(parsed.ok()) << id << ": " << parsed.status();
    EXPECT_EQ(*parsed, id);
  }
}

TEST(Name, MalformedPorts) {
  for (const std::string& id :
       {std::string(), std::string("1vm"), std::string("-vm"), std::string("VM1"),
        std::string("vm_1"), std::string("vm.1"), std::string("vm/1"), std::string("vm 1"), k64}) {
    EXPECT_THAT(ParsePortName(PortName(id), "name").status(), IsInvalid("NAME_MALFORMED", "name"))
        << id;
    EXPECT_THAT(CheckPortId(id, "port_id"), IsInvalid("ID_MALFORMED", "port_id")) << id;
  }
}

TEST(Name, QueueRoundTrip) {
  for (const uint32_t number : {0u, 7u, 63u, 4294967295u}) {
    const auto parsed = ParseQueueName(QueueName("eth0", number), "name");
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    EXPECT_EQ(parsed->uplink, "eth0");
    EXPECT_EQ(parsed->queue, number);
  }
}

TEST(Name, MalformedQueues) {
  for (const char* name :
       {"", "uplinks/eth0", "uplinks/eth0/queues", "uplinks/eth0/queues/", "uplinks/queues/1",
        "uplinks//queues/1", "uplinks/-/queues/1", "uplinks/eth0/queues/01",
        "uplinks/eth0/queues/+1", "uplinks/eth0/queues/-1", "uplinks/eth0/queues/ 1",
        "uplinks/eth0/queues/1 ", "uplinks/eth0/queues/x", "uplinks/eth0/queues/4294967296",
        "uplinks/eth0/queues/1/queues/2", "queues/1"}) {
    EXPECT_THAT(ParseQueueName(name, "name").status(), IsInvalid("NAME_MALFORMED", "name")) << name;
  }
}

TEST(Name, Devices) {
  for (const char* device : {"eth0", "a", "veth@1", "br-123456789abc", "_x"}) {
    EXPECT_TRUE(CheckDeviceName(device, "f").ok()) << device;
  }
  for (const char* device : {"", ".", "..", "a/b", "a b", "a\tb", "a:b", "tap%d",
                             "sixteencharacter", "a\n", "a\x7f", "\xc3\xa9"}) {
    EXPECT_THAT(CheckDeviceName(device, "port.device"),
                IsInvalid("DEVICE_NAME_MALFORMED", "port.device"))
        << device;
  }
}

}  // namespace
}  // namespace vmqd::rpc
