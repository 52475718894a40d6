// What the tests of a whole switch share: a namespace of the test's own with a veth as the uplink,
// a Switch on it with its real workers, sockets and programs, and somebody on the wire.
#ifndef VMQD_TESTS_SWITCH_SWITCH_FIXTURE_H_
#define VMQD_TESTS_SWITCH_SWITCH_FIXTURE_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/control/switch.h"
#include "daemon/virtio/vhost_server.h"
#include "daemon/xdp/affinity.h"
#include "tests/support/own_namespace.h"
#include "tests/support/status_matchers.h"
#include "tests/switch/wire.h"

namespace vmqd::testing {

inline constexpr MacAddress kOutside{{0x02, 0, 0, 0, 0xff, 0x01}};
inline constexpr MacAddress kBroadcast{{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};

inline MacAddress MacOf(uint8_t vm) { return {{0x02, 0, 0, 0, 0, vm}}; }

class SwitchTest : public OwnNamespace {
 protected:
  void SetUp() override {
    OwnNamespace::SetUp();
    if (IsSkipped()) return;
    // No traffic but the test's own.
    ASSERT_EQ(std::system("sysctl -qw net.ipv6.conf.default.disable_ipv6=1"), 0);
    ASSERT_TRUE(
        Ip("link add nic0 numtxqueues 4 numrxqueues 4 type veth peer name wire0 numtxqueues 4 "
           "numrxqueues 4"));
    ASSERT_TRUE(Ip("link set nic0 up") && Ip("link set wire0 up"));
    SetUpVhost();
    if (HasFatalFailure()) return;
    Switch::Options options{.processors = ProcessorSet::Default(AllowedCpus()),
                            .version = "test",
                            .vhost = vhost_.get()};
    auto made = Switch::Create(std::move(options));
    ASSERT_OK(made);
    switch_ = *std::move(made);
    ASSERT_OK(switch_->AddUplink(Uplink()));
    wire_ = std::make_unique<Wire>("wire0");
  }

  // For tests with vhost-user ports: makes vhost_.
  virtual void SetUpVhost() {}

  static UplinkConfig Uplink() {
    UplinkConfig config;
    config.id = config.device = "nic0";
    return config;
  }

  // A port vm<n> with a veth pair; its far end is eth<n>.
  absl::Status AddVm(uint8_t n, uint32_t vlan = 0) {
    PortConfig config;
    config.id = absl::StrCat("vm", n);
    config.kind = PortKind::kVeth;
    config.peer_device = absl::StrCat("eth", n);
    config.macs = {MacOf(n)};
    config.vlan = vlan;
    return switch_->AddPort(config).status();
  }

  int64_t BuffersInFlight() {
    int64_t in_flight = 0;
    const auto queues = switch_->ListQueues(std::nullopt);
    for (const QueueStatus& queue : *queues) in_flight += queue.buffers_in_flight;
    return in_flight;
  }

  // Waits for a moment at which every frame is accounted for, and says what is not otherwise.
  void ExpectConserved() {
    std::string problem = "not looked at";
    for (int i = 0; i < 100 && !problem.empty(); ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      problem = Unaccounted();
    }
    EXPECT_EQ(problem, "");
  }

  std::string Unaccounted() {
    std::string problem;
    const auto check = [&problem](const std::string& name, const Counters& counters) {
      const uint64_t in = counters.in_forwarded_pkts + counters.InDiscards();
      const uint64_t out = counters.out_pkts + counters.OutDiscards();
      if (counters.in_pkts != in || counters.offered_pkts != out) {
        absl::StrAppend(&problem, name, ": in ", counters.in_pkts, " handled ", in, ", offered ",
                        counters.offered_pkts, " handled ", out, "; ");
      }
    };
    for (const PortStatus& port : switch_->ListPorts()) check(port.config.id, port.counters);
    for (const UplinkStatus& uplink : switch_->ListUplinks()) {
      check(uplink.config.id, uplink.counters);
    }
    const SwitchStatus all = switch_->Show();
    const uint64_t in = all.counters.in_pkts + all.replicated_pkts;
    const uint64_t out =
        all.counters.out_pkts + all.counters.InDiscards() + all.counters.OutDiscards();
    if (in != out) absl::StrAppend(&problem, "switch: in ", in, " out ", out);
    return problem;
  }

  // Whether an event of this kind has come, or comes within ten seconds.
  bool SaysSoon(const std::string& resource, const std::string& reason) const {
    for (int i = 0; i < 500; ++i) {
      for (const Event& event : switch_->history().EventsAfter(0, 10000)) {
        if (event.resource == resource && event.reason == reason) return true;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    return false;
  }

  std::unique_ptr<VhostServer> vhost_;
  std::unique_ptr<Switch> switch_;
  std::unique_ptr<Wire> wire_;
};

}  // namespace vmqd::testing

#endif  // VMQD_TESTS_SWITCH_SWITCH_FIXTURE_H_
