// In which order the calls of a plan are made. Pure.
#ifndef VMQD_CLIENT_PLAN_ORDER_H_
#define VMQD_CLIENT_PLAN_ORDER_H_

#include <map>
#include <string>
#include <vector>

#include "client/plan.h"

namespace vmqd::cli {

// What is on the switch: complete resources, by name.
struct SeenSwitch {
  std::map<std::string, v1::Uplink> uplinks;
  std::map<std::string, v1::Port> ports;
};

struct Mistake {
  std::string name;  // of the resource
  std::string what;
};

// Fills plan.steps: ports go, uplinks go, uplinks come, or get other queues; ports come and change,
// each once nobody else has its device and addresses any more; uplinks change, or give up queues
// that ports have asked for. Where ports would wait for each other
// in a circle, one of them is made a kReplace. Mistakes, and no steps, where somebody has for good
// what a port wants.
std::vector<Mistake> OrderSteps(const SeenSwitch& seen, Plan& plan);

}  // namespace vmqd::cli

#endif  // VMQD_CLIENT_PLAN_ORDER_H_
