// Connection: one channel to one vmqd, and how a call on it is made: with a deadline, and over all
// pages of a list. Used from main's thread only.
#ifndef VMQD_CLIENT_CONNECTION_H_
#define VMQD_CLIENT_CONNECTION_H_

#include <memory>
#include <string>

#include "client/interrupt.h"
#include "grpcpp/grpcpp.h"
#include "vmqd/v1/vmqd.grpc.pb.h"

namespace vmqd::cli {

struct ConnectionOptions {
  std::string address = "unix:/run/vmqd/vmqd.sock";
  double timeout_seconds = 10;  // attaching a NIC may reset its link, which takes seconds
};

class Connection {
 public:
  using Stub = v1::Vmqd::Stub;

  // Connects with the first call.
  explicit Connection(ConnectionOptions options);

  template <typename Request, typename Response>
  grpc::Status Call(grpc::Status (Stub::*rpc)(grpc::ClientContext*, const Request&, Response*),
                    const Request& request, Response* response) {
    grpc::ClientContext context;
    SetDeadline(context);
    if (interrupt_ != nullptr) interrupt_->Set(&context);
    const grpc::Status status = (stub_.get()->*rpc)(&context, request, response);
    if (interrupt_ != nullptr) interrupt_->Set(nullptr);
    return status;
  }

  // Calls a List rpc until the last page and gathers all of them in `all`.
  template <typename Request, typename Response>
  grpc::Status CallForAll(grpc::Status (Stub::*rpc)(grpc::ClientContext*, const Request&,
                                                    Response*),
                          Request request, Response* all) {
    do {
      Response page;
      if (grpc::Status status = Call(rpc, request, &page); !status.ok()) return status;
      request.set_page_token(page.next_page_token());
      all->MergeFrom(page);
    } while (!request.page_token().empty());
    all->clear_next_page_token();
    return grpc::Status::OK;
  }

  // From now on `interrupt`, which outlives the calls, ends them too.
  void EndBy(Interrupt& interrupt) { interrupt_ = &interrupt; }

  const ConnectionOptions& options() const { return options_; }
  // For streams, which have no deadline.
  Stub& stub() { return *stub_; }

 private:
  void SetDeadline(grpc::ClientContext& context) const;

  const ConnectionOptions options_;
  std::unique_ptr<Stub> stub_;
  Interrupt* interrupt_ = nullptr;
};

// Whether a daemon that comes back may answer better.
bool MayPass(const grpc::Status& status);

// What an error carries for programs.
struct Refusal {
  std::string code;    // "INVALID_ARGUMENT"
  std::string reason;  // of google.rpc.ErrorInfo; empty when there is none
  std::string field;   // likewise
};
Refusal RefusalIn(const grpc::Status& status);

}  // namespace vmqd::cli

#endif  // VMQD_CLIENT_CONNECTION_H_
