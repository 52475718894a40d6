#include "daemon/processors.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "absl/strings/numbers.h"
#include "daemon/xdp/affinity.h"

namespace vmqd {
namespace {

absl::StatusOr<ProcessorSet> SetFrom(const std::string& list, const std::vector<int>& allowed) {
  return list.empty() ? ProcessorSet::Default(allowed) : ProcessorSet::Parse(list, allowed);
}

// Of this process, but for the workers, which are known by their names.
std::vector<pid_t> ControlThreads() {
  std::vector<pid_t> threads;
  std::error_code ignored;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task", ignored)) {
    std::ifstream file(task.path() / "comm");
    std::string name;
    pid_t thread = 0;
    if (std::getline(file, name) && !name.starts_with("vmq-") &&
        absl::SimpleAtoi(task.path().filename().string(), &thread)) {
      threads.push_back(thread);
    }
  }
  return threads;
}

}  // namespace

absl::StatusOr<Processors> Processors::Create(const std::string& list) {
  std::vector<int> allowed = AllowedCpus();
  auto set = SetFrom(list, allowed);
  if (!set.ok()) return set.status();
  Processors processors(std::move(allowed), *std::move(set));
  if (const absl::Status status = SetThreadCpus(0, processors.LeftBy(processors.set_));
      !status.ok()) {
    spdlog::warn("control threads share the workers' CPUs: {}", std::string(status.message()));
  }
  return processors;
}

// All, where the set leaves none.
std::vector<int> Processors::LeftBy(const ProcessorSet& set) const {
  std::vector<int> others;
  std::copy_if(allowed_.begin(), allowed_.end(), std::back_inserter(others), [&](int cpu) {
    return std::find(set.cpus().begin(), set.cpus().end(), cpu) == set.cpus().end();
  });
  return others.empty() ? allowed_ : others;
}

absl::Status Processors::Change(const std::string& list, Switch& vm_switch) {
  auto set = SetFrom(list, allowed_);
  if (!set.ok()) return set.status();
  if (set->cpus() == set_.cpus()) return absl::OkStatus();
  // A worker that was just started may still have its starter's name, and be taken along: the
  // switch, which is told after this, pins all of them.
  const auto move_others = [this](const ProcessorSet& to) {
    // Twice, for those that others started before it was their turn.
    for (int pass = 0; pass < 2; ++pass) {
      for (const pid_t thread : ControlThreads()) {
        SetThreadCpus(thread, LeftBy(to)).IgnoreError();  // it may have ended
      }
    }
  };
  move_others(*set);
  if (absl::Status status = vm_switch.SetProcessors(*set); !status.ok()) {
    move_others(set_);
    return status;
  }
  set_ = *std::move(set);
  return absl::OkStatus();
}

}  // namespace vmqd
