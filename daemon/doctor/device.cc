// What kind of device it is, whether it has a link, and how its queues fit the CPUs.
#include <algorithm>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "daemon/doctor/checks.h"
#include "daemon/xdp/affinity.h"

namespace vmqd::doctor {
namespace {

std::string Driver(const DeviceFacts& device) {
  if (device.driver.empty()) return "its driver is not said";
  return absl::StrCat("driver ", device.driver,
                      device.bus.empty() || device.bus == "N/A" ? "" : " at ", device.bus);
}

void CheckKind(const DeviceFacts& device, Report& report) {
  constexpr char kElsewhere[] = "attach a wired Ethernet device";
  if (device.loopback) {
    report.Problem("device", "the loopback device", kElsewhere);
  } else if (!device.ethernet) {
    report.Problem("device", "not an Ethernet device", kElsewhere);
  } else if (device.wireless) {
    report.Problem("device", "a wireless device: it sends under its own address only", kElsewhere);
  } else if (!device.link.kind.empty()) {
    report.Note("device",
                absl::StrCat("a virtual device (", device.link.kind, "), ", Driver(device)),
                "its queues are not sorted by hardware; attach the physical device where there is "
                "one");
  } else {
    report.Ok("device", Driver(device));
  }
}

void CheckLinkState(const Link& link, Report& report) {
  if (!link.up) {
    report.Note("link-state", "down", absl::StrCat("ip link set ", link.name, " up"));
  } else if (!link.carrier) {
    report.Note("link-state", "up, without carrier", "check cable and switch port");
  } else {
    report.Ok("link-state", "up, with carrier");
  }
}

void CheckQueues(const DeviceFacts& device, size_t cpus, Report& report) {
  const uint32_t queues = device.link.queues;
  const uint32_t most = device.channels ? std::max(queues, device.channels->most) : queues;
  const std::string seen = absl::StrCat(queues, queues == 1 ? " queue" : " queues", " of at most ",
                                        most, " for ", cpus, cpus == 1 ? " CPU" : " CPUs");
  const std::string resize = absl::StrCat("ethtool -L ", device.link.name, " combined ",
                                          std::min<size_t>(cpus, most), " before attaching");
  if (queues > cpus) {
    report.Note("queues", absl::StrCat(seen, ": several workers share a CPU"),
                absl::StrCat(resize, ", or uplink add --queues ", cpus));
  } else if (queues < cpus && most > queues) {
    report.Note("queues", absl::StrCat(seen, ": some CPUs get no worker"), resize);
  } else if (queues == 1 && cpus > 1) {
    report.Note("queues", absl::StrCat(seen, ": one CPU does the work for all ports"),
                "a device with more queues spreads it");
  } else {
    report.Ok("queues", seen);
  }
}

void CheckNuma(const DeviceFacts& device, const std::vector<int>& workers, Report& report) {
  const auto nodes = ReadLine("/sys/devices/system/node/online");
  const int here = device.link.numa_node;
  if (nodes == "0") {
    report.Ok("numa", "the machine has one node");
    return;
  }
  if (here < 0) {
    report.Note("numa", "not known: the node of the device is not said", "");
    return;
  }
  std::vector<int> away;
  for (const int cpu : workers) {
    if (NumaNodeOfCpu(cpu) != here) away.push_back(cpu);
  }
  if (away.empty()) {
    report.Ok("numa", absl::StrCat("device and workers are on node ", here));
  } else {
    report.Note("numa",
                absl::StrCat("the device is on node ", here, ", CPUs ", absl::StrJoin(away, ","),
                             " are not"),
                "name the CPUs of the device's node in processor_set");
  }
}

void CheckNapi(const DeviceFacts& device, Report& report) {
  size_t known = 0;
  size_t threads = 0;
  std::set<int> irqs;
  for (const Napi& napi : device.napis) {
    known += napi.id != 0;
    threads += napi.thread > 0;
    if (napi.irq >= 0) irqs.insert(napi.irq);
  }
  if (threads > 0) {
    report.Note("napi",
                absl::StrCat(threads, " of ", device.napis.size(),
                             " queues are received by kernel threads"),
                "vmqd puts each thread on its worker's CPU, and the worker then sleeps instead of "
                "spinning");
  } else if (known == 0) {
    report.Note("napi", "not known: the kernel does not say what receives the queues",
                device.link.up ? "" : "set the device up and look again");
  } else if (irqs.empty()) {
    report.Ok("napi", "queues are received in software interrupts");
  } else {
    report.Ok("napi", absl::StrCat("queues are received on ", irqs.size(), " interrupts"));
  }
}

void CheckMaster(const DeviceFacts& device, Report& report) {
  if (device.master.empty()) {
    report.Ok("master", "not part of a bridge or bond");
    return;
  }
  const std::string kind = device.master_kind.empty() ? "device" : device.master_kind;
  const bool bond = kind == "bond" || kind == "team";
  report.Note("master", absl::StrCat("part of ", kind, " ", device.master),
              bond ? "vmqd serves this one link: frames that the bond receives on another link do "
                     "not reach its ports"
                   : absl::StrCat("frames for ports no longer reach ", device.master,
                                  "; take the device out of it, unless that is what you want"));
}

}  // namespace

std::vector<Finding> CheckDevice(const DeviceFacts& device, const DoctorOptions& options) {
  Report report(device.link.name);
  const std::vector<int> workers = WorkerCpus(options);
  CheckKind(device, report);
  CheckLinkState(device.link, report);
  CheckMaster(device, report);
  CheckQueues(device, workers.size(), report);
  CheckNuma(device, workers, report);
  CheckNapi(device, report);
  return report.Take();
}

}  // namespace vmqd::doctor
