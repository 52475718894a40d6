// vmqd_bench_port_add ADDRESS: a client that has its connection to vmqd already, as an orchestrator
// has. Reads commands from standard input, one a line, and answers each with one line:
//   add ID DEVICE MAC    CreatePort of kind NETDEV   -> called NS returned NS (CLOCK_MONOTONIC)
//   del ID                                           -> ok
// An error is answered with "error SENTENCE".
#include <time.h>

#include <cstdint>
#include <cstdio>
#include <iostream>
#include <memory>
#include <sstream>
#include <string>

#include "grpcpp/grpcpp.h"
#include "vmqd/v1/vmqd.grpc.pb.h"

namespace {

int64_t NowNs() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1000000000 + now.tv_nsec;
}

std::string Add(vmqd::v1::Vmqd::Stub& stub, std::istringstream& words) {
  vmqd::v1::CreatePortRequest request;
  std::string mac;
  if (!(words >> *request.mutable_port_id() >> *request.mutable_port()->mutable_device() >> mac)) {
    return "error add takes ID DEVICE MAC";
  }
  request.mutable_port()->set_kind(vmqd::v1::NETDEV);
  request.mutable_port()->add_macs(mac);
  grpc::ClientContext context;
  vmqd::v1::Port port;
  const int64_t called = NowNs();
  const grpc::Status status = stub.CreatePort(&context, request, &port);
  const int64_t returned = NowNs();
  if (!status.ok()) return "error " + status.error_message();
  return "called " + std::to_string(called) + " returned " + std::to_string(returned);
}

std::string Delete(vmqd::v1::Vmqd::Stub& stub, std::istringstream& words) {
  std::string id;
  if (!(words >> id)) return "error del takes ID";
  vmqd::v1::DeletePortRequest request;
  request.set_name("ports/" + id);
  grpc::ClientContext context;
  google::protobuf::Empty nothing;
  const grpc::Status status = stub.DeletePort(&context, request, &nothing);
  return status.ok() ? "ok" : "error " + status.error_message();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: vmqd_bench_port_add ADDRESS\n");
    return 2;
  }
  const auto stub =
      vmqd::v1::Vmqd::NewStub(grpc::CreateChannel(argv[1], grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  vmqd::v1::Switch answer;
  if (const grpc::Status status = stub->GetSwitch(&context, {}, &answer); !status.ok()) {
    std::cout << "error " << status.error_message() << std::endl;
    return 1;
  }
  std::cout << "ready" << std::endl;
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream words(line);
    std::string verb;
    words >> verb;
    if (verb == "add") {
      std::cout << Add(*stub, words) << std::endl;
    } else {
      std::cout << (verb == "del" ? Delete(*stub, words) : "error commands are add and del")
                << std::endl;
    }
  }
}
