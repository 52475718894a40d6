// Sight: what `vmqd-cli top` shows, all of it as the daemon said it within one moment.
#ifndef VMQD_CLIENT_LOOK_H_
#define VMQD_CLIENT_LOOK_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "google/protobuf/timestamp.pb.h"
#include "vmqd/v1/vmqd.pb.h"

namespace vmqd::cli {

struct Sight {
  google::protobuf::Timestamp time;  // by this machine's clock
  v1::Switch sw;
  v1::ListQueuesResponse queues;
  v1::ListPortsResponse ports;
  v1::ListEventsResponse moves;  // the latest ones of queues and ports, oldest first
};

// Whether the event tells of a queue that went to another CPU, of a port that went to another
// queue, of what such a move has gained, or that it failed.
bool IsMove(const v1::Event& event);

// Frames per second dropped between two looks, by name of port; the switch's under "". What was
// not there at the first of them, or counts anew, is missing.
std::map<std::string, double> DropRates(const Sight& before, const Sight& now);

// {"time": .., "switch": {..}, "queues": {..}, "ports": {..}, "moves": {..}} on one line.
std::string LookJson(const Sight& look);

}  // namespace vmqd::cli

#endif  // VMQD_CLIENT_LOOK_H_
