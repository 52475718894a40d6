// The options by which an operator says who places queues and ports.
#include <map>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "client/output.h"
#include "client/uplink.h"

namespace vmqd::cli {
namespace {

constexpr int32_t kAuto = -1;

// "3=1" or "3=auto".
bool ParsePin(const std::string& text, uint32_t* queue, int32_t* cpu) {
  const std::pair<std::string, std::string> parts = absl::StrSplit(text, absl::MaxSplits('=', 1));
  if (!absl::SimpleAtoi(parts.first, queue)) return false;
  *cpu = kAuto;
  return parts.second == "auto" || (absl::SimpleAtoi(parts.second, cpu) && *cpu >= 0);
}

}  // namespace

void AddBalanceOptions(CLI::App& verb, BalanceOptions& options) {
  verb.add_option("--balance", options.mode,
                  "dynamic (default): queues and ports move by load; manual: when queue rebalance "
                  "asks for it; static: never")
      ->check(CLI::IsMember({"dynamic", "manual", "static"}));
  verb.add_option("--queue-cpu", options.pins,
                  "Pin the workers of queues to CPUs of the processor set; auto: vmqd chooses")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check([](const std::string& text) {
        uint32_t queue = 0;
        int32_t cpu = 0;
        return ParsePin(text, &queue, &cpu) ? "" : "wanted is QUEUE=CPU or QUEUE=auto";
      })
      ->type_name("QUEUE=CPU[,QUEUE=CPU...]");
}

std::vector<std::string> FillBalance(const BalanceOptions& options, v1::Uplink* uplink) {
  std::vector<std::string> given;
  if (v1::BalanceMode mode; v1::BalanceMode_Parse(absl::AsciiStrToUpper(options.mode), &mode)) {
    uplink->set_balance_mode(mode);
    given.push_back("balance_mode");
  }
  if (options.pins.empty()) return given;
  given.push_back("queue_cpus");
  for (const std::string& pin : options.pins) {
    uint32_t queue = 0;
    int32_t cpu = kAuto;
    ParsePin(pin, &queue, &cpu);
    if (cpu == kAuto) {
      uplink->mutable_queue_cpus()->erase(queue);
    } else {
      (*uplink->mutable_queue_cpus())[queue] = cpu;
    }
  }
  return given;
}

std::string BalanceText(const v1::Uplink& uplink) {
  std::vector<std::string> parts = {EnumText(v1::BalanceMode_Name(uplink.balance_mode()))};
  const std::map<uint32_t, int32_t> pins(uplink.queue_cpus().begin(), uplink.queue_cpus().end());
  for (const auto& [queue, cpu] : pins) {
    parts.push_back(absl::StrCat("queue ", queue, " stays on CPU ", cpu));
  }
  return absl::StrJoin(parts, "; ");
}

}  // namespace vmqd::cli
