// vmqd, the daemon. The composition root: every object is built here, in order, and handed on.
#include <grp.h>
#include <pthread.h>
#include <signal.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/sinks/systemd_sink.h>
#include <spdlog/spdlog.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <iostream>
#include <memory>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/str_join.h"
#include "bpf/libbpf.h"
#include "daemon/control/switch.h"
#include "daemon/doctor/doctor.h"
#include "daemon/doctor/print.h"
#include "daemon/metrics/metrics.h"
#include "daemon/processors.h"
#include "daemon/rpc/server.h"
#include "daemon/rpc/service.h"
#include "daemon/settings/settings.h"
#include "daemon/store/state_directory.h"
#include "daemon/virtio/vhost_server.h"
#include "daemon/xdp/pin.h"

namespace {

using std::chrono::microseconds;

// How long calls under way may finish when the daemon is told to stop.
constexpr std::chrono::milliseconds kShutdownPatience{1000};

struct Flags {
  std::string config;  // empty: the usual file, if it is there
  std::string address;
  std::string group;
  std::string processor_set;
  std::string log_level;
  std::string state_directory;
  std::string bpf_directory;
  std::string vhost_directory;
  std::string doctor;            // device; with `diagnose`
  std::string output = "table";  // of the diagnosis
  bool diagnose = false;
  bool cleanup = false;
};

// What the file says, and what flags say instead.
absl::StatusOr<vmqd::v1::DaemonSettings> SettingsFrom(const Flags& flags) {
  auto settings = vmqd::LoadSettings(flags.config.empty() ? vmqd::kSettingsFile : flags.config,
                                     !flags.config.empty());
  if (!settings.ok()) return settings;
  if (!flags.address.empty()) {
    auto path = vmqd::rpc::ControlPath(flags.address);
    if (!path.ok()) return path.status();
    settings->mutable_control()->set_path(*path);
  }
  if (!flags.group.empty()) settings->mutable_control()->set_group(flags.group);
  if (!flags.processor_set.empty()) settings->set_processor_set(flags.processor_set);
  if (!flags.log_level.empty()) settings->set_log_level(flags.log_level);
  if (!flags.state_directory.empty()) settings->set_state_directory(flags.state_directory);
  if (!flags.bpf_directory.empty()) settings->set_bpf_directory(flags.bpf_directory);
  if (!flags.vhost_directory.empty()) {
    settings->mutable_vhost_user()->set_directory(flags.vhost_directory);
  }
  if (absl::Status status = vmqd::CheckSettings(*settings); !status.ok()) return status;
  return settings;
}

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

// These are taken by main alone; blocked before any thread starts.
sigset_t BlockSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGHUP);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);
  return signals;
}

int Fail(const absl::Status& status) {
  spdlog::critical("{}", std::string(status.message()));
  return 1;
}

// The directory for pins, or why there is none: then the switch runs all the same, and says what
// does not hold.
void ChooseBpfDirectory(const std::string& wanted, vmqd::Switch::Options& options) {
  const absl::Status status = vmqd::PreparePinDirectory(wanted);
  if (status.ok()) {
    options.bpf_directory = wanted;
    return;
  }
  options.bpf_reason = std::string(status.message());
  options.warnings.push_back(
      "if vmqd dies, frames of VMs reach the host stack until it runs again: " +
      options.bpf_reason);
}

// The thread that speaks with VMMs, or why there is none: then the switch runs all the same,
// without vhost-user ports.
std::unique_ptr<vmqd::VhostServer> ServeVhost(const vmqd::v1::VhostUser& wanted,
                                              vmqd::Switch::Options& options) {
  std::string group = wanted.group();
  if (getgrnam(group.c_str()) == nullptr) {
    options.warnings.push_back("there is no group \"" + group +
                               "\" for the sockets of vhost-user ports, so only this process's own "
                               "user can use them; name another one below vhost_user");
    group.clear();
  }
  auto server = vmqd::VhostServer::Create({wanted.directory(), group, vmqd::ModeOf(wanted)});
  if (!server.ok()) {
    options.vhost_reason = std::string(server.status().message());
    options.warnings.push_back("there can be no vhost-user ports: " + options.vhost_reason);
    return nullptr;
  }
  options.vhost = server->get();
  return *std::move(server);
}

std::vector<std::string> DevicesOf(const vmqd::Switch& sw) {
  std::vector<std::string> devices;
  for (const auto& uplink : sw.ListUplinks()) devices.push_back(uplink.config.device);
  for (const auto& port : sw.ListPorts()) {
    if (!port.config.device.empty()) devices.push_back(port.config.device);
  }
  return devices;
}

// One service behind each kind of listener.
vmqd::rpc::RpcServer::MakeService ServiceFor(vmqd::Switch& sw,
                                             const vmqd::v1::DaemonSettings& settings) {
  vmqd::rpc::VmqdService::Options options;
  options.watch.watchers = settings.limits().watchers();
  // The processor set by name: the thread of a call may run only where no worker does.
  options.diagnose = [&sw, bpf = settings.bpf_directory()](const std::string& device) {
    return vmqd::Diagnose(device, {bpf, sw.Show().processor_set, DevicesOf(sw)});
  };
  return [&sw, options](vmqd::rpc::Access& access) {
    return std::make_unique<vmqd::rpc::VmqdService>(sw, access, options);
  };
}

// What runs and can be told other settings.
struct Running {
  vmqd::rpc::RpcServer& server;
  vmqd::Processors& processors;
  vmqd::Switch& vm_switch;
  vmqd::v1::DaemonSettings& settings;
};

// All of them or none.
absl::Status Take(const vmqd::v1::DaemonSettings& wanted, const Running& running) {
  const auto& [server, processors, vm_switch, settings] = running;
  absl::Status status = processors.Change(wanted.processor_set(), vm_switch);
  if (!status.ok()) return status;
  status = server.Reload(wanted);
  if (!status.ok()) processors.Change(settings.processor_set(), vm_switch).IgnoreError();
  return status;
}

void Reload(const Flags& flags, const Running& running) {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%lld",
             static_cast<long long>(now.tv_sec) * 1'000'000 + now.tv_nsec / 1000);
  auto wanted = SettingsFrom(flags);
  absl::Status status = wanted.status();
  if (status.ok()) {
    const std::vector<std::string> later = vmqd::NeedRestart(running.settings, *wanted);
    vmqd::v1::DaemonSettings reloaded = vmqd::Reloaded(running.settings, *wanted);
    status = Take(reloaded, running);
    if (status.ok()) {
      running.settings = std::move(reloaded);
      spdlog::default_logger()->set_level(spdlog::level::from_str(running.settings.log_level()));
      for (const std::string& warning : running.server.warnings()) spdlog::warn("{}", warning);
      spdlog::info("settings reloaded{}{}",
                   later.empty() ? "" : "; after a restart only: ", absl::StrJoin(later, ", "));
    }
  }
  if (!status.ok()) {
    spdlog::error("settings not reloaded, nothing changed: {}", std::string(status.message()));
  }
  sd_notify(0, "READY=1");
}

// Until SIGINT or SIGTERM. The watchdog is fed only while every worker advances.
int ServeUntilStopped(const sigset_t& signals, const std::function<void()>& reload,
                      vmqd::Switch& sw) {
  using Clock = std::chrono::steady_clock;
  uint64_t watchdog_us = 0;
  const bool watched = sd_watchdog_enabled(0, &watchdog_us) > 0;
  // Half of it, as systemd advises; and workers are looked at also where nobody asks.
  const microseconds period(watched ? watchdog_us / 2 : 10'000'000);
  // By the clock: reloads, however many, do not put it off.
  for (Clock::time_point next = Clock::now() + period;;) {
    const microseconds left =
        std::max(microseconds(0), std::chrono::duration_cast<microseconds>(next - Clock::now()));
    const timespec timeout{.tv_sec = static_cast<time_t>(left.count() / 1'000'000),
                           .tv_nsec = static_cast<long>(left.count() % 1'000'000) * 1000};
    const int signal = sigtimedwait(&signals, nullptr, &timeout);
    if (signal == SIGINT || signal == SIGTERM) return signal;
    if (signal == SIGHUP) reload();
    if (Clock::now() < next) continue;
    next = Clock::now() + period;
    if (sw.WorkersAdvance()) {
      sd_notify(0, "WATCHDOG=1");
    } else {
      spdlog::error("a worker has made no turn for {} s", period.count() / 1'000'000);
    }
  }
}

absl::StatusOr<std::unique_ptr<vmqd::MetricsServer>> ListenForMetrics(
    const vmqd::v1::DaemonSettings& settings) {
  if (!settings.has_metrics()) return nullptr;
  return vmqd::MetricsServer::Listen(settings.metrics().address());
}

int Run(const Flags& flags, vmqd::v1::DaemonSettings settings) {
  const sigset_t signals = BlockSignals();
  auto processors = vmqd::Processors::Create(settings.processor_set());
  if (!processors.ok()) return Fail(processors.status());
  auto state = vmqd::OpenStateDirectory({settings.state_directory()});
  if (!state.ok()) return Fail(state.status());
  vmqd::Switch::Options options{
      .processors = processors->set(), .version = VMQD_VERSION, .store = state->store.get()};
  options.warnings = state->warnings;
  ChooseBpfDirectory(settings.bpf_directory(), options);
  for (const std::string& warning : options.warnings) spdlog::warn("{}", warning);
  // What can be refused is refused here: a switch that has run gives everything back when it ends,
  // also what an earlier daemon left in place to keep frames of VMs from the host.
  auto server = vmqd::rpc::RpcServer::Listen(settings);
  if (!server.ok()) return Fail(server.status());
  for (const std::string& warning : (*server)->warnings()) spdlog::warn("{}", warning);
  auto metrics = ListenForMetrics(settings);
  if (!metrics.ok()) return Fail(metrics.status());
  if (*metrics != nullptr && !(*metrics)->warning().empty()) {
    spdlog::warn("{}", (*metrics)->warning());
  }
  const size_t told = options.warnings.size();
  const auto vhost = ServeVhost(settings.vhost_user(), options);
  for (size_t i = told; i < options.warnings.size(); ++i) spdlog::warn("{}", options.warnings[i]);
  auto vm_switch = vmqd::Switch::Create(std::move(options));
  if (!vm_switch.ok()) return Fail(vm_switch.status());
  const absl::Status served = (*server)->Serve(ServiceFor(**vm_switch, settings));
  if (!served.ok()) return Fail(served);
  if (*metrics != nullptr) (*metrics)->Show(**vm_switch);

  spdlog::info("vmqd {} serves unix:{}; workers go to CPUs {}", VMQD_VERSION,
               settings.control().path(), processors->set().ToString());
  sd_notify(0, "READY=1");
  const Running running{**server, *processors, **vm_switch, settings};
  const int signal = ServeUntilStopped(
      signals, [&] { Reload(flags, running); }, **vm_switch);
  spdlog::info("stopping on signal {}", signal);
  sd_notify(0, "STOPPING=1");
  metrics->reset();
  (*vm_switch)->history().Close();
  (*server)->Shutdown(kShutdownPatience);
  return 0;
}

// What a daemon left behind, taken out of the kernel; its desired state stays.
int CleanUp(const vmqd::v1::DaemonSettings& settings) {
  auto state = vmqd::OpenStateDirectory({settings.state_directory()});
  if (!state.ok()) return Fail(state.status());
  auto done = vmqd::Switch::Cleanup(*state->store, settings.bpf_directory());
  if (!done.ok()) return Fail(done.status());
  for (const std::string& sentence : *done) std::cout << sentence << "\n";
  if (done->empty()) std::cout << "nothing was left behind\n";
  return 0;
}

int Diagnose(const Flags& flags, const vmqd::v1::DaemonSettings& settings) {
  return vmqd::PrintDoctor(flags.doctor, {settings.bpf_directory(), settings.processor_set(), {}},
                           flags.output);
}

void AddFlags(CLI::App& app, Flags& flags) {
  app.set_version_flag("--version", VMQD_VERSION);
  app.add_option("--config", flags.config,
                 "settings file (default: /etc/vmqd/vmqd.yaml, if it is there)");
  app.add_option("--address", flags.address, "control socket: unix:/path");
  app.add_option("--group", flags.group, "group that may use the control socket");
  app.add_option(
      "--processor-set", flags.processor_set,
      "CPUs that workers are dealt to, e.g. 1-3,6 (default: all but 0 if more than two)");
  app.add_option("--log-level", flags.log_level, "trace, debug, info, warning or error")
      ->check(CLI::IsMember({"trace", "debug", "info", "warning", "error"}));
  app.add_option("--state-directory", flags.state_directory, "where the desired state is kept");
  app.add_option("--bpf-directory", flags.bpf_directory,
                 "on a bpf file system: keeps the XDP programs at work when vmqd dies");
  app.add_option("--vhost-directory", flags.vhost_directory,
                 "where the sockets of vhost-user ports are");
  CLI::App& modes = *app.add_option_group("instead of serving");
  modes.add_flag("--cleanup", flags.cleanup,
                 "take out of the kernel what a daemon left there, and end");
  CLI::Option& doctor = *modes.add_option(
      "--doctor", flags.doctor, "say what will work on this machine, and on a device, and end");
  doctor.expected(0, 1);
  modes.require_option(0, 1);
  app.add_option("-o,--output", flags.output, "how to print a diagnosis")
      ->check(CLI::IsMember({"table", "json"}))
      ->capture_default_str();
}

}  // namespace

int main(int argc, char** argv) {
  Flags flags;
  CLI::App app{"vmqd: a virtual switch with a hardware queue for each VM", "vmqd"};
  AddFlags(app, flags);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  flags.diagnose = app.count("--doctor") > 0;
  StartLogging(flags.log_level.empty() ? "info" : flags.log_level);
  auto settings = SettingsFrom(flags);
  if (!settings.ok()) return Fail(settings.status());
  spdlog::default_logger()->set_level(spdlog::level::from_str(settings->log_level()));
  if (flags.cleanup) return CleanUp(*settings);
  if (flags.diagnose) return Diagnose(flags, *settings);
  return Run(flags, *std::move(settings));
}
