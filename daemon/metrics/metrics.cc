// Serving scrapes; the contract is in the header.
#include "daemon/metrics/metrics.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <chrono>
#include <exception>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "daemon/control/switch.h"
#include "daemon/metrics/families.h"
#include "daemon/net/mutex.h"
#include "prometheus/collectable.h"
#include "prometheus/exposer.h"

namespace vmqd {
namespace {

// Asks the switch. Scrapes take turns, so that a thousand ports are walked, and their numbers held
// in memory, by one of them at a time.
class SwitchCollectable : public prometheus::Collectable {
 public:
  explicit SwitchCollectable(const Switch& vm_switch) : switch_(vm_switch) {}

  std::vector<prometheus::MetricFamily> Collect() const override {
    const MutexLock lock(turn_);
    const auto start = std::chrono::steady_clock::now();
    metrics::Seen seen;
    seen.whole = switch_.Show();
    seen.uplinks = switch_.ListUplinks();
    seen.ports = switch_.ListPorts();
    if (auto queues = switch_.ListQueues(std::nullopt); queues.ok()) {
      seen.queues = *std::move(queues);
    }
    metrics::Families families = metrics::MakeFamilies(seen);
    metrics::Family took =
        metrics::Family::Gauge("vmqd_scrape_duration_seconds", "Time this scrape took to collect.");
    took.Add({}, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    took.MoveTo(families);
    return families;
  }

 private:
  const Switch& switch_;
  mutable Mutex turn_;
};

struct Address {
  std::string text;
  bool loopback = false;
};

// Strict, because civetweb would take lists, flags and bare ports too.
absl::StatusOr<Address> ParseAddress(const std::string& text) {
  const size_t colon = text.rfind(':');
  uint32_t port = 0;
  in_addr v4{};
  in6_addr v6{};
  if (colon != std::string::npos && absl::SimpleAtoi(text.substr(colon + 1), &port) &&
      port <= 65535) {
    const std::string host = text.substr(0, colon);
    if (inet_pton(AF_INET, host.c_str(), &v4) == 1) {
      return Address{absl::StrCat(host, ":", port), ntohl(v4.s_addr) >> 24 == 127};
    }
    if (host.size() > 2 && host.front() == '[' && host.back() == ']' &&
        inet_pton(AF_INET6, host.substr(1, host.size() - 2).c_str(), &v6) == 1) {
      return Address{absl::StrCat(host, ":", port), IN6_IS_ADDR_LOOPBACK(&v6) != 0};
    }
  }
  return absl::InvalidArgumentError(
      absl::StrCat("metrics.address \"", text,
                   "\": it must be an address and a port, such as 127.0.0.1:9877 or [::1]:9877"));
}

std::vector<std::string> ServerOptions(const std::string& address) {
  return {"listening_ports",
          address,
          "num_threads",
          absl::StrCat(MetricsServer::kThreads),
          "connection_queue",
          absl::StrCat(MetricsServer::kWaitingConnections),
          "listen_backlog",
          absl::StrCat(MetricsServer::kWaitingConnections),
          "request_timeout_ms",
          absl::StrCat(MetricsServer::kRequestTimeoutMs),
          "max_request_size",
          absl::StrCat(MetricsServer::kMaxRequest),
          "enable_keep_alive",
          "no",
          "enable_directory_listing",
          "no"};
}

}  // namespace

class MetricsServer::Impl {
 public:
  explicit Impl(const std::string& address) : exposer_(ServerOptions(address)) {}
  void Show(const Switch& vm_switch) {
    collectable_ = std::make_shared<SwitchCollectable>(vm_switch);
    exposer_.RegisterCollectable(collectable_);
  }
  int port() const {
    const std::vector<int> ports = exposer_.GetListeningPorts();
    return ports.empty() ? 0 : ports[0];
  }

 private:
  std::shared_ptr<prometheus::Collectable> collectable_;
  prometheus::Exposer exposer_;  // stops first
};

MetricsServer::MetricsServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
MetricsServer::~MetricsServer() = default;
void MetricsServer::Show(const Switch& vm_switch) { impl_->Show(vm_switch); }
int MetricsServer::port() const { return impl_->port(); }

absl::StatusOr<std::unique_ptr<MetricsServer>> MetricsServer::Listen(const std::string& address) {
  auto parsed = ParseAddress(address.empty() ? kDefaultAddress : address);
  if (!parsed.ok()) return parsed.status();
  std::unique_ptr<MetricsServer> server;
  try {
    server.reset(new MetricsServer(std::make_unique<Impl>(parsed->text)));
  } catch (const std::exception& error) {  // civetweb does not say why
    return absl::UnavailableError(
        absl::StrCat("listening on ", parsed->text, " for metrics: ", error.what(),
                     "; is the address this machine's, and the port free?"));
  }
  if (!parsed->loopback) {
    server->warning_ = absl::StrCat("metrics at ", parsed->text,
                                    " can be read by everybody who reaches that address");
  }
  return server;
}

}  // namespace vmqd
