// vmqd, the daemon. The composition root: every object is built here, in order, and handed on.
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/sinks/systemd_sink.h>
#include <spdlog/spdlog.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <memory>
#include <string>

#include "absl/strings/ascii.h"
#include "bpf/libbpf.h"
#include "daemon/control/switch.h"
#include "daemon/rpc/server.h"
#include "daemon/vmq/processor_set.h"
#include "daemon/xdp/affinity.h"

namespace {

// How long calls under way may finish when the daemon is told to stop.
constexpr std::chrono::milliseconds kShutdownPatience{1000};

struct Flags {
  std::string address = "unix:/run/vmqd/vmqd.sock";
  std::string group = "vmqd";
  std::string processor_set;  // empty: the default
  std::string log_level = "info";
};

// The journal when systemd started us (its stderr is a journal stream), else stderr.
void StartLogging(const std::string& level) {
  std::shared_ptr<spdlog::sinks::sink> sink;
  if (getenv("JOURNAL_STREAM") != nullptr) {
    sink = std::make_shared<spdlog::sinks::systemd_sink_mt>("vmqd");
  } else {
    sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
  }
  auto logger = std::make_shared<spdlog::logger>("vmqd", sink);
  logger->set_level(spdlog::level::from_str(level));
  spdlog::set_default_logger(logger);
  // libbpf and libxdp explain failures on their own stream; vmqd says them in its own sentences.
  libbpf_set_print([](libbpf_print_level, const char* format, va_list arguments) {
    char text[512];
    vsnprintf(text, sizeof(text), format, arguments);
    spdlog::trace("{}", std::string(absl::StripTrailingAsciiWhitespace(text)));
    return 0;
  });
}

// SIGINT and SIGTERM are taken by main alone; blocked before any thread starts.
sigset_t BlockSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);
  return signals;
}

absl::StatusOr<vmqd::ProcessorSet> Processors(const std::string& list) {
  const std::vector<int> allowed = vmqd::AllowedCpus();
  if (list.empty()) return vmqd::ProcessorSet::Default(allowed);
  return vmqd::ProcessorSet::Parse(list, allowed);
}

// Control threads keep off the workers' CPUs where there are others. Every thread started from here
// inherits this; workers pin themselves.
void LeaveCpusToWorkers(const vmqd::ProcessorSet& processors) {
  std::vector<int> others;
  for (int cpu : vmqd::AllowedCpus()) {
    const std::vector<int>& taken = processors.cpus();
    if (std::find(taken.begin(), taken.end(), cpu) == taken.end()) others.push_back(cpu);
  }
  if (others.empty()) return;
  if (const absl::Status status = vmqd::SetThreadCpus(0, others); !status.ok()) {
    spdlog::warn("control threads share the workers' CPUs: {}", std::string(status.message()));
  }
}

int Fail(const absl::Status& status) {
  spdlog::critical("{}", std::string(status.message()));
  return 1;
}

int Run(const Flags& flags) {
  const sigset_t signals = BlockSignals();
  auto processors = Processors(flags.processor_set);
  if (!processors.ok()) return Fail(processors.status());
  LeaveCpusToWorkers(*processors);
  auto vm_switch = vmqd::Switch::Create({*processors, VMQD_VERSION});
  if (!vm_switch.ok()) return Fail(vm_switch.status());
  vmqd::rpc::RpcServer::Options options;
  options.socket_group = flags.group;
  auto server = vmqd::rpc::RpcServer::Start(flags.address, **vm_switch, options);
  if (!server.ok()) return Fail(server.status());
  for (const std::string& warning : (*server)->warnings()) spdlog::warn("{}", warning);

  spdlog::info("vmqd {} serves {}; workers go to CPUs {}", VMQD_VERSION, flags.address,
               processors->ToString());
  sd_notify(0, "READY=1");
  int signal = 0;
  sigwait(&signals, &signal);
  spdlog::info("stopping on signal {}", signal);
  sd_notify(0, "STOPPING=1");
  (*server)->Shutdown(kShutdownPatience);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  Flags flags;
  CLI::App app{"vmqd: a virtual switch with a hardware queue for each VM"};
  app.set_version_flag("--version", VMQD_VERSION);
  app.add_option("--address", flags.address, "where to serve gRPC: unix:/path or host:port")
      ->capture_default_str();
  app.add_option("--group", flags.group, "group that may use the unix socket")
      ->capture_default_str();
  app.add_option(
      "--processor-set", flags.processor_set,
      "CPUs that workers are dealt to, e.g. 1-3,6 (default: all but 0 if more than two)");
  app.add_option("--log-level", flags.log_level, "trace, debug, info, warning or error")
      ->check(CLI::IsMember({"trace", "debug", "info", "warning", "error"}))
      ->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  StartLogging(flags.log_level);
  return Run(flags);
}
