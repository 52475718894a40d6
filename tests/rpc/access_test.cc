// Every role and every method, by a real client over every listener; who is not let in at all; and
// what is written down of it.
#include <grp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <thread>

#include "daemon/rpc/roles.h"
#include "gmock/gmock.h"
#include "google/rpc/error_details.pb.h"
#include "tests/rpc/served.h"

namespace vmqd::rpc {
namespace {

using grpc::StatusCode;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

constexpr char kHealth[] = "/grpc.health.v1.Health/Check";
constexpr char kReflection[] = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo";

class AccessTest : public Served {
 protected:
  void ExpectRole(const std::shared_ptr<grpc::Channel>& channel, v1::Role role) {
    for (const std::string& method : Methods()) {
      const grpc::Status status = CallVmqd(channel, method);
      EXPECT_EQ(status.error_code(),
                MayCall(role, method) ? StatusCode::OK : StatusCode::PERMISSION_DENIED)
          << RoleName(role) << " " << method << ": " << status.error_message();
    }
  }
};

TEST_F(AccessTest, EveryMethodOnTheUnixSockets) {
  Start();
  ExpectRole(Control(), v1::ADMIN);
  ExpectRole(Monitor(), v1::VIEWER);
}

TEST_F(AccessTest, EveryMethodByCertificate) {
  Start();
  const std::pair<const char*, v1::Role> rows[] = {
      {"admin", v1::ADMIN},   {"operator", v1::OPERATOR},       {"viewer", v1::VIEWER},
      {"common", v1::VIEWER}, {"nobody", v1::ROLE_UNSPECIFIED}, {"nameless", v1::ROLE_UNSPECIFIED}};
  for (const auto& [who, role] : rows) {
    SCOPED_TRACE(who);
    ExpectRole(Tcp(who), role);
  }
}

TEST_F(AccessTest, HealthForEveryRoleReflectionOnThisMachine) {
  Start();
  EXPECT_TRUE(Call(Control(), kHealth).ok());
  EXPECT_TRUE(Call(Monitor(), kHealth).ok());
  EXPECT_TRUE(Call(Tcp("viewer"), kHealth).ok());
  EXPECT_EQ(Call(Tcp("nobody"), kHealth).error_code(), StatusCode::PERMISSION_DENIED);
  EXPECT_NE(Call(Control(), kReflection).error_code(), StatusCode::UNIMPLEMENTED);
  EXPECT_NE(Call(Monitor(), kReflection).error_code(), StatusCode::UNIMPLEMENTED);
  EXPECT_EQ(Call(Tcp("admin"), kReflection).error_code(), StatusCode::UNIMPLEMENTED);
  EXPECT_EQ(Call(Tcp("nobody"), kReflection).error_code(), StatusCode::PERMISSION_DENIED);
}

TEST_F(AccessTest, TheSentenceNamesWhoAndWhere) {
  Start();
  const grpc::Status monitor = CallVmqd(Monitor(), "CreatePort");
  EXPECT_THAT(monitor.error_message(),
              AllOf(HasSubstr("user " + std::to_string(geteuid())),
                    HasSubstr("process " + std::to_string(getpid())), HasSubstr("role viewer"),
                    HasSubstr("\"CreatePort\" needs operator"), HasSubstr("control socket")));
  const grpc::Status tcp = CallVmqd(Tcp("viewer"), "DeleteUplink");
  EXPECT_THAT(tcp.error_message(),
              AllOf(HasSubstr("certificate \"viewer@lab.test\" from 127.0.0.1:"),
                    HasSubstr("\"DeleteUplink\" needs admin"), HasSubstr("tcp.roles")));
  google::rpc::Status details;
  ASSERT_TRUE(details.ParseFromString(tcp.error_details()));
  google::rpc::ErrorInfo info;
  ASSERT_TRUE(details.details_size() == 1 && details.details(0).UnpackTo(&info));
  EXPECT_EQ(info.reason(), "ROLE_TOO_LOW");
  EXPECT_EQ(info.domain(), "vmqd");
  EXPECT_THAT(CallVmqd(Tcp("nobody"), "GetSwitch").error_message(),
              AllOf(HasSubstr("nobody.lab.test"), HasSubstr("role none")));
}

TEST_F(AccessTest, OneLineForEveryChange) {
  Start();
  ASSERT_TRUE(CallVmqd(Control(), "CreatePort").ok());
  ASSERT_TRUE(CallVmqd(Tcp("operator"), "UpdatePort").ok());
  ASSERT_FALSE(CallVmqd(Tcp("operator"), "CreateUplink").ok());
  ASSERT_TRUE(CallVmqd(Control(), "GetSwitch").ok());
  const std::string log = Log();
  EXPECT_THAT(log,
              HasSubstr("audit: method=CreatePort resource=\"ports/x\\\"\\nforged line\" "
                        "outcome=OK role=admin listener=control uid=" +
                        std::to_string(geteuid()) + " pid=" + std::to_string(getpid()) + "\n"));
  EXPECT_THAT(log, HasSubstr("audit: method=UpdatePort"));
  EXPECT_THAT(log, HasSubstr("outcome=OK role=operator listener=tcp address=127.0.0.1:"));
  EXPECT_THAT(log, HasSubstr("certificate=\"operator.lab.test\"\n"));
  EXPECT_THAT(log, HasSubstr("method=CreateUplink"));
  EXPECT_THAT(log, HasSubstr("outcome=PERMISSION_DENIED role=operator"));
  EXPECT_THAT(log, Not(HasSubstr("\nforged line")));
  EXPECT_THAT(log, Not(HasSubstr("GetSwitch")));
}

TEST_F(AccessTest, RefusedChangesDoNotFillTheLog) {
  Start();
  const auto channel = Monitor();
  for (int i = 0; i < 1000; ++i) ASSERT_FALSE(CallVmqd(channel, "DeletePort").ok());
  const std::string log = Log();
  EXPECT_LT(std::count(log.begin(), log.end(), '\n'), 900) << "10 a second and 100 at once";
}

TEST_F(AccessTest, CertificatesThatAreNotLetIn) {
  Start();
  for (const char* who : {"", "stranger", "expired", "early", "not_a_client"}) {
    const grpc::Status status = CallVmqd(Tcp(who), "GetSwitch");
    EXPECT_EQ(status.error_code(), StatusCode::UNAVAILABLE)
        << who << ": " << status.error_message();
  }
  EXPECT_TRUE(CallVmqd(Tcp("viewer"), "GetSwitch").ok()) << "the others are still served";
  EXPECT_THAT(Log(), HasSubstr("TLS: peer did not return a certificate"));
  EXPECT_THAT(Log(), HasSubstr("certificate has expired"));
}

// A client of OpenSSL's own, that can be told to be old.
bool TlsCallsThrough(int fd, int newest, const std::string& pem, const std::string& key) {
  SSL_CTX* context = SSL_CTX_new(TLS_client_method());
  SSL_CTX_set_max_proto_version(context, newest);
  SSL_CTX_use_certificate_file(context, pem.c_str(), SSL_FILETYPE_PEM);
  SSL_CTX_use_PrivateKey_file(context, key.c_str(), SSL_FILETYPE_PEM);
  static constexpr unsigned char kH2[] = {2, 'h', '2'};
  SSL_CTX_set_alpn_protos(context, kH2, sizeof(kH2));
  SSL* ssl = SSL_new(context);
  SSL_set_fd(ssl, fd);
  const std::string hello("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", 33);
  char answer[9];
  // The server's SETTINGS: it has let the client in.
  const bool through = SSL_connect(ssl) == 1 && SSL_write(ssl, hello.data(), 33) == 33 &&
                       SSL_read(ssl, answer, sizeof(answer)) == 9 && answer[3] == 4;
  SSL_free(ssl);
  SSL_CTX_free(context);
  close(fd);
  return through;
}

TEST_F(AccessTest, NothingOlderThanTls13) {
  Start();
  EXPECT_TRUE(TlsCallsThrough(DialTcp(server_->port()), TLS1_3_VERSION, Certificate("admin"),
                              Key("admin")));
  EXPECT_FALSE(TlsCallsThrough(DialTcp(server_->port()), TLS1_2_VERSION, Certificate("admin"),
                               Key("admin")));
  const auto plain = grpc::CreateChannel("127.0.0.1:" + std::to_string(server_->port()),
                                         grpc::InsecureChannelCredentials());
  EXPECT_EQ(CallVmqd(plain, "GetSwitch").error_code(), StatusCode::UNAVAILABLE);
}

TEST_F(AccessTest, CertificatesThatCannotBeServed) {
  const auto refused = [&](const char* part) {
    const absl::Status status = RpcServer::Listen(settings_).status();
    EXPECT_THAT(std::string(status.message()), HasSubstr(part)) << status;
  };
  const v1::TcpListener good = settings_.tcp();
  settings_.mutable_tcp()->clear_key();
  refused("tcp.key: required");
  settings_.mutable_tcp()->set_key(Key("viewer"));
  refused("is not the key of");
  settings_.mutable_tcp()->set_key(Key("not_a_key"));
  std::ofstream(Key("not_a_key")) << "no key";
  chmod(Key("not_a_key").c_str(), 0600);
  refused("has no private key");
  const std::string open = directory_ + "/open.key";
  std::filesystem::copy_file(Key("server"), open);
  chmod(open.c_str(), 0644);
  settings_.mutable_tcp()->set_key(open);
  refused("everybody on this machine");
  *settings_.mutable_tcp() = good;
  settings_.mutable_tcp()->set_client_ca(Key("server"));
  refused("has no certificate");
  settings_.mutable_tcp()->set_client_ca(directory_ + "/none.pem");
  refused("No such file");
  *settings_.mutable_tcp() = good;
  settings_.mutable_tcp()->set_address("localhost:9443");
  refused("not of the form");
}

TEST_F(AccessTest, ReloadTakesCertificatesRolesAndModes) {
  Start();
  const auto before = Tcp("viewer");
  ASSERT_TRUE(CallVmqd(before, "GetSwitch").ok());
  v1::DaemonSettings bad = settings_;
  bad.mutable_tcp()->set_client_ca("/none");
  EXPECT_FALSE(server_->Reload(bad).ok());
  EXPECT_TRUE(CallVmqd(before, "GetSwitch").ok()) << "nothing changed";

  settings_.mutable_control()->set_mode("0600");
  settings_.mutable_tcp()->set_client_ca(Certificate("other_ca"));
  ASSERT_TRUE(server_->Reload(settings_).ok());
  struct stat file {};
  ASSERT_EQ(stat(settings_.control().path().c_str(), &file), 0);
  EXPECT_EQ(file.st_mode & 07777, 0600u);
  EXPECT_TRUE(CallVmqd(Tcp("stranger"), "CreateUplink").ok()) << "the other CA's admin";
  EXPECT_EQ(CallVmqd(Tcp("viewer"), "GetSwitch").error_code(), StatusCode::UNAVAILABLE);

  settings_.mutable_tcp()->set_client_ca(Certificate("ca"));
  settings_.mutable_tcp()->mutable_roles(0)->set_role(v1::VIEWER);
  ASSERT_TRUE(server_->Reload(settings_).ok());
  EXPECT_EQ(CallVmqd(Tcp("admin"), "CreateUplink").error_code(), StatusCode::PERMISSION_DENIED);
}

// What connect() says to a user and a group that are nobody's, on `path`.
int ErrnoOfAnother(const std::string& path, int (*dial)(const std::string&)) {
  const pid_t child = fork();
  if (child == 0) {
    const bool changed = setgroups(0, nullptr) == 0 && setgid(64321) == 0 && setuid(64321) == 0;
    _exit(!changed ? 255 : dial(path) >= 0 ? 0 : errno);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WEXITSTATUS(status);
}

TEST_F(AccessTest, SocketsByMode) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root, to be another user";
  settings_.mutable_monitor()->set_mode("0666");
  Start();
  chmod(directory_.c_str(), 0755);
  EXPECT_EQ(ErrnoOfAnother(settings_.control().path(), Dial), EACCES);
  EXPECT_EQ(ErrnoOfAnother(settings_.monitor().path(), Dial), 0);
  settings_.mutable_control()->set_mode("0666");
  ASSERT_TRUE(server_->Reload(settings_).ok());
  EXPECT_EQ(ErrnoOfAnother(settings_.control().path(), Dial), 0);
  EXPECT_THAT(server_->warnings(), testing::Contains(HasSubstr("everybody on this machine")));
}

TEST_F(AccessTest, OneServerToASocket) {
  Start();
  const auto second = RpcServer::Listen(settings_);
  EXPECT_TRUE(absl::IsFailedPrecondition(second.status())) << second.status();
  EXPECT_TRUE(CallVmqd(Control(), "GetSwitch").ok()) << "the first serves on";
  server_.reset();
  EXPECT_FALSE(std::filesystem::exists(settings_.control().path()));
  EXPECT_FALSE(std::filesystem::exists(settings_.monitor().path()));
  EXPECT_TRUE(RpcServer::Listen(settings_).ok());
}

TEST(ControlPath, UnixOnly) {
  EXPECT_EQ(*ControlPath("unix:/run/x"), "/run/x");
  EXPECT_EQ(*ControlPath("unix:///run/x"), "/run/x");
  EXPECT_THAT(std::string(ControlPath("127.0.0.1:9443").status().message()),
              HasSubstr("tcp.certificate"));
}

}  // namespace
}  // namespace vmqd::rpc
