// See look.h.
#include "client/look.h"

#include "absl/strings/str_cat.h"
#include "client/output.h"

namespace vmqd::cli {
namespace {

double Seconds(const google::protobuf::Timestamp& time) {
  return static_cast<double>(time.seconds()) + time.nanos() / 1e9;
}

std::map<std::string, uint64_t> Drops(const Sight& look) {
  const auto sum = [](const v1::Counters& counters) {
    return counters.in_discards() + counters.out_discards();
  };
  std::map<std::string, uint64_t> drops = {{"", sum(look.sw.counters())}};
  for (const v1::Port& port : look.ports.ports()) drops[port.name()] = sum(port.counters());
  return drops;
}

}  // namespace

bool IsMove(const v1::Event& event) {
  return event.reason() == "QUEUE_MOVED" || event.reason() == "PORT_MOVED" ||
         event.reason() == "MOVE_GAINED" || event.reason() == "MOVE_FAILED";
}

std::map<std::string, double> DropRates(const Sight& before, const Sight& now) {
  const double seconds = Seconds(now.time) - Seconds(before.time);
  const std::map<std::string, uint64_t> earlier = Drops(before);
  std::map<std::string, double> rates;
  for (const auto& [name, drops] : Drops(now)) {
    const auto was = earlier.find(name);
    if (seconds <= 0 || was == earlier.end() || was->second > drops) continue;
    rates[name] = static_cast<double>(drops - was->second) / seconds;
  }
  return rates;
}

std::string LookJson(const Sight& look) {
  return absl::StrCat("{\"time\":", ToJsonLine(look.time), ",\"switch\":", ToJsonLine(look.sw),
                      ",\"queues\":", ToJsonLine(look.queues),
                      ",\"ports\":", ToJsonLine(look.ports), ",\"moves\":", ToJsonLine(look.moves),
                      "}");
}

}  // namespace vmqd::cli
