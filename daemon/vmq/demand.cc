// Minutes, and how a second's busy time becomes demands.
#include "daemon/vmq/demand.h"

#include <algorithm>
#include <cassert>

namespace vmqd {
namespace {

constexpr double kMostLossFactor = 8;  // a flood at line rate must not look like a hundred CPUs
constexpr double kBacklogFactor = 1.5;

double HiddenFactor(const PortSecond& port) {
  if (port.lost > 0) return std::min(kMostLossFactor, (port.frames + port.lost) / port.frames);
  return port.backlog ? kBacklogFactor : 1;
}

}  // namespace

void Minute::Push(double share) {
  std::shift_right(seconds.begin(), seconds.end(), 1);
  seconds[0] = static_cast<float>(share);
}

void Minute::Add(const Minute& other, double factor) {
  const auto times = static_cast<float>(factor);
  for (size_t i = 0; i < kSeconds; ++i) seconds[i] += times * other.seconds[i];
}

double Minute::Mean(size_t over) const {
  double sum = 0;
  for (size_t i = 0; i < over; ++i) sum += seconds[i];
  return sum / static_cast<double>(over);
}

double Minute::Peak() const { return *std::max_element(seconds.begin(), seconds.end()); }

double SplitDemand(const QueueSecond& queue, std::span<const PortSecond> ports,
                   std::span<double> demand) {
  assert(ports.size() == demand.size());
  const double busy = queue.remote ? queue.busy / kRemoteCost : queue.busy;
  double of_ports = 0;
  for (const PortSecond& port : ports) of_ports += port.frames;
  // A frame from port to port of one queue counts for both.
  const double frames = std::max(queue.frames, of_ports);
  for (size_t i = 0; i < ports.size(); ++i) {
    const PortSecond& port = ports[i];
    demand[i] = port.frames > 0 ? busy * port.frames / frames : 0;
    if (!queue.cpu_full || port.frames <= 0) continue;
    const double most = port.lost > 0 ? kMostLossFactor : std::max(1.0, demand[i]);
    demand[i] = std::min(most, demand[i] * HiddenFactor(port));
  }
  return frames > 0 ? busy * (frames - of_ports) / frames : busy;
}

}  // namespace vmqd
