// MetricsServer: what the switch counts, over HTTP at /metrics, for a monitoring system to scrape.
// Nothing is counted here: each scrape asks the Switch, as the API does, so the numbers are the
// same.
//
// Text format 0.0.4 of Prometheus ("text/plain; charset=utf-8"): the library (prometheus-cpp 1.0.1)
// does not write OpenMetrics 1.0. README.md lists the metrics and says what a scrape costs.
//
// The server's threads inherit the CPUs of the thread that starts it, which keeps them off the
// workers'. Whoever holds connections open gets no more than kThreads threads and, for each, a few
// seconds and kMaxRequest bytes; scrapes take turns.
#ifndef VMQD_DAEMON_METRICS_METRICS_H_
#define VMQD_DAEMON_METRICS_METRICS_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace vmqd {

class Switch;

class MetricsServer {
 public:
  static constexpr int kThreads = 4;
  static constexpr int kWaitingConnections = 8;   // accepted, not yet served
  static constexpr int kRequestTimeoutMs = 2000;  // to send a request, and to take its answer
  static constexpr int kMaxRequest = 4096;        // bytes of request line and headers

  static constexpr char kDefaultAddress[] = "127.0.0.1:9877";

  // `address`: "127.0.0.1:9877", "[::1]:9877", "0.0.0.0:9877"; empty: kDefaultAddress; port 0: one
  // that is free, see port(). kInvalidArgument when it is none of that; kUnavailable when nobody
  // can listen there. Main thread. Who asks before Show is told
  // that there is no such page.
  static absl::StatusOr<std::unique_ptr<MetricsServer>> Listen(const std::string& address);
  ~MetricsServer();  // waits for scrapes under way
  MetricsServer(const MetricsServer&) = delete;
  MetricsServer& operator=(const MetricsServer&) = delete;

  void Show(const Switch& vm_switch);  // once; the switch must outlive the server

  int port() const;
  // For the operator, empty when there is none: everybody who reaches a non-loopback address may
  // read it.
  const std::string& warning() const { return warning_; }

 private:
  class Impl;
  explicit MetricsServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
  std::string warning_;
};

}  // namespace vmqd

#endif  // VMQD_DAEMON_METRICS_METRICS_H_
