// A server of the API without a switch behind it: every method asks Access, and that is all it
// does. On a control socket, a monitor socket and TCP, with certificates made for the test. The
// base of access_test.cc and front_test.cc.
#ifndef VMQD_TESTS_RPC_SERVED_H_
#define VMQD_TESTS_RPC_SERVED_H_

#include <memory>
#include <string>
#include <vector>

#include "daemon/rpc/server.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"
#include "vmqd/v1/vmqd.grpc.pb.h"

namespace vmqd::rpc {

class Served : public testing::Test {
 protected:
  static void SetUpTestSuite();  // the certificates
  static void TearDownTestSuite();
  Served();
  ~Served() override;

  // With settings_, which a test may change before.
  void Start();

  // A channel of its own connection. `who` names a certificate of tests/lab/certificates.py.
  std::shared_ptr<grpc::Channel> Control() const { return Unix(settings_.control().path()); }
  std::shared_ptr<grpc::Channel> Monitor() const { return Unix(settings_.monitor().path()); }
  std::shared_ptr<grpc::Channel> Tcp(const std::string& who) const;

  // One call with an empty request; waits for the connection, for a minute at most.
  static grpc::Status Call(const std::shared_ptr<grpc::Channel>& channel, const std::string& path);
  static grpc::Status CallVmqd(const std::shared_ptr<grpc::Channel>& channel,
                               const std::string& method) {
    return Call(channel, "/vmqd.v1.Vmqd/" + method);
  }
  static std::vector<std::string> Methods();

  // A connected socket; -1 with errno. It gives up reading after a minute.
  static int Dial(const std::string& path);
  static bool Connect(int fd, const std::string& path);
  static int DialTcp(int port);
  // Whether the other side has closed within a minute; what it says until then is thrown away.
  static bool Closed(int fd);

  static std::string Certificate(const std::string& who) { return pki_ + "/" + who + ".pem"; }
  static std::string Key(const std::string& who) { return pki_ + "/" + who + ".key"; }
  static std::string Contents(const std::string& path);

  // What was logged so far.
  std::string Log() const;

  v1::DaemonSettings settings_;
  std::string directory_;
  std::unique_ptr<RpcServer> server_;

 private:
  static std::shared_ptr<grpc::Channel> Unix(const std::string& path);
  static std::string pki_;
};

}  // namespace vmqd::rpc

#endif  // VMQD_TESTS_RPC_SERVED_H_
