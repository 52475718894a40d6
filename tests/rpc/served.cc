// See served.h.
#include "tests/rpc/served.h"

#include <arpa/inet.h>
#include <grp.h>
#include <netinet/in.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "grpcpp/impl/client_unary_call.h"

namespace vmqd::rpc {
namespace {

using grpc::ServerContext;

class AskingService final : public v1::Vmqd::Service {
 public:
  explicit AskingService(Access& access) : access_(access) {}

  grpc::Status CreateUplink(ServerContext* c, const v1::CreateUplinkRequest*,
                            v1::Uplink*) override {
    return Change(*c, "CreateUplink");
  }
  grpc::Status UpdateUplink(ServerContext* c, const v1::UpdateUplinkRequest*,
                            v1::Uplink*) override {
    return Change(*c, "UpdateUplink");
  }
  grpc::Status DeleteUplink(ServerContext* c, const v1::DeleteUplinkRequest*,
                            google::protobuf::Empty*) override {
    return Change(*c, "DeleteUplink");
  }
  grpc::Status CreatePort(ServerContext* c, const v1::CreatePortRequest*, v1::Port*) override {
    return Change(*c, "CreatePort");
  }
  grpc::Status UpdatePort(ServerContext* c, const v1::UpdatePortRequest*, v1::Port*) override {
    return Change(*c, "UpdatePort");
  }
  grpc::Status DeletePort(ServerContext* c, const v1::DeletePortRequest*,
                          google::protobuf::Empty*) override {
    return Change(*c, "DeletePort");
  }
  grpc::Status GetUplink(ServerContext* c, const v1::GetUplinkRequest*, v1::Uplink*) override {
    return access_.Check(*c, "GetUplink");
  }
  grpc::Status ListUplinks(ServerContext* c, const v1::ListUplinksRequest*,
                           v1::ListUplinksResponse*) override {
    return access_.Check(*c, "ListUplinks");
  }
  grpc::Status GetQueue(ServerContext* c, const v1::GetQueueRequest*, v1::Queue*) override {
    return access_.Check(*c, "GetQueue");
  }
  grpc::Status ListQueues(ServerContext* c, const v1::ListQueuesRequest*,
                          v1::ListQueuesResponse*) override {
    return access_.Check(*c, "ListQueues");
  }
  grpc::Status GetPort(ServerContext* c, const v1::GetPortRequest*, v1::Port*) override {
    return access_.Check(*c, "GetPort");
  }
  // An answer of a megabyte, for those who do not read it.
  grpc::Status ListPorts(ServerContext* c, const v1::ListPortsRequest*,
                         v1::ListPortsResponse* response) override {
    response->set_next_page_token(std::string(1 << 20, 'x'));
    return access_.Check(*c, "ListPorts");
  }
  grpc::Status GetSwitch(ServerContext* c, const v1::GetSwitchRequest*, v1::Switch* sw) override {
    sw->set_version("under test");
    return access_.Check(*c, "GetSwitch");
  }
  grpc::Status Watch(ServerContext* c, const v1::WatchRequest*,
                     grpc::ServerWriter<v1::WatchResponse>* writer) override {
    grpc::Status status = access_.Check(*c, "Watch");
    if (status.ok()) writer->Write({});
    return status;
  }
  grpc::Status ListEvents(ServerContext* c, const v1::ListEventsRequest*,
                          v1::ListEventsResponse*) override {
    return access_.Check(*c, "ListEvents");
  }
  grpc::Status Rebalance(ServerContext* c, const v1::RebalanceRequest*,
                         v1::RebalanceResponse*) override {
    return access_.Check(*c, "Rebalance");
  }
  grpc::Status Diagnose(ServerContext* c, const v1::DiagnoseRequest*,
                        v1::DiagnoseResponse*) override {
    return access_.Check(*c, "Diagnose");
  }

 private:
  grpc::Status Change(const ServerContext& context, std::string_view method) {
    grpc::Status status = access_.Check(context, method);
    access_.Audit(context, method, "ports/x\"\nforged line", status);
    return status;
  }

  Access& access_;
};

// spdlog's sink is thread-safe, the stream is read under its own.
class LogText final : public spdlog::sinks::base_sink<std::mutex> {
 public:
  std::string Text() {
    const std::lock_guard lock(mutex_);
    return text_;
  }

 private:
  void sink_it_(const spdlog::details::log_msg& message) override {
    text_.append(message.payload.data(), message.payload.size());
    text_ += '\n';
  }
  void flush_() override {}
  std::string text_;
};
std::shared_ptr<LogText> log_text;

}  // namespace

std::string Served::pki_;

void Served::SetUpTestSuite() {
  std::string pattern = testing::TempDir() + "vmqd-pki-XXXXXX";
  pki_ = mkdtemp(pattern.data());
  const std::string command =
      std::string("/usr/bin/python3 " VMQD_SOURCE_DIR "/tests/lab/certificates.py ") + pki_;
  ASSERT_EQ(std::system(command.c_str()), 0) << command;
}

void Served::TearDownTestSuite() { std::filesystem::remove_all(pki_); }

Served::Served() {
  std::string pattern = testing::TempDir() + "vmqd-served-XXXXXX";
  directory_ = mkdtemp(pattern.data());
  const struct group* own = getgrgid(getegid());
  for (auto* listener : {settings_.mutable_control(), settings_.mutable_monitor()}) {
    listener->set_group(own->gr_name);
  }
  settings_.mutable_control()->set_path(directory_ + "/control");
  settings_.mutable_monitor()->set_path(directory_ + "/monitor");
  v1::TcpListener* tcp = settings_.mutable_tcp();
  tcp->set_address("127.0.0.1:0");
  tcp->set_certificate(Certificate("server"));
  tcp->set_key(Key("server"));
  tcp->set_client_ca(Certificate("ca"));
  const std::pair<const char*, v1::Role> roles[] = {{"spiffe://lab.test/admin", v1::ADMIN},
                                                    {"operator.lab.test", v1::OPERATOR},
                                                    {"viewer@lab.test", v1::VIEWER},
                                                    {"common.lab.test", v1::VIEWER}};
  for (const auto& [name, role] : roles) {
    v1::RoleBinding* binding = tcp->add_roles();
    binding->set_name(name);
    binding->set_role(role);
  }
  log_text = std::make_shared<LogText>();
  spdlog::set_default_logger(std::make_shared<spdlog::logger>("test", log_text));
}

Served::~Served() {
  server_.reset();
  std::filesystem::remove_all(directory_);
}

std::string Served::Log() const { return log_text->Text(); }

void Served::Start() {
  auto server = RpcServer::Listen(settings_);
  ASSERT_TRUE(server.ok()) << server.status();
  server_ = *std::move(server);
  const absl::Status served =
      server_->Serve([](Access& access) { return std::make_unique<AskingService>(access); });
  ASSERT_TRUE(served.ok()) << served;
}

std::string Served::Contents(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

std::shared_ptr<grpc::Channel> Served::Unix(const std::string& path) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // a connection of its own
  return grpc::CreateCustomChannel("unix:" + path, grpc::InsecureChannelCredentials(), arguments);
}

std::shared_ptr<grpc::Channel> Served::Tcp(const std::string& who) const {
  grpc::SslCredentialsOptions options{.pem_root_certs = Contents(Certificate("ca"))};
  if (!who.empty()) {
    options.pem_private_key = Contents(Key(who));
    options.pem_cert_chain = Contents(Certificate(who));
  }
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  return grpc::CreateCustomChannel("127.0.0.1:" + std::to_string(server_->port()),
                                   grpc::SslCredentials(options), arguments);
}

grpc::Status Served::Call(const std::shared_ptr<grpc::Channel>& channel, const std::string& path) {
  const grpc::internal::RpcMethod method(path.c_str(), grpc::internal::RpcMethod::NORMAL_RPC);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::minutes(1));
  const grpc::Slice nothing;
  const grpc::ByteBuffer request(&nothing, 1);
  grpc::ByteBuffer response;
  return grpc::internal::BlockingUnaryCall<grpc::ByteBuffer, grpc::ByteBuffer>(
      channel.get(), method, &context, request, &response);
}

std::vector<std::string> Served::Methods() {
  const auto* service = v1::GetSwitchRequest::descriptor()->file()->FindServiceByName("Vmqd");
  std::vector<std::string> methods;
  for (int i = 0; i < service->method_count(); ++i) methods.push_back(service->method(i)->name());
  return methods;
}

bool Served::Connect(int fd, const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  const timeval patience{.tv_sec = 60, .tv_usec = 0};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  return connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0;
}

int Served::Dial(const std::string& path) {
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (Connect(fd, path)) return fd;
  const int error = errno;
  close(fd);
  errno = error;
  return -1;
}

int Served::DialTcp(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const timeval patience{.tv_sec = 60, .tv_usec = 0};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0) return fd;
  close(fd);
  return -1;
}

bool Served::Closed(int fd) {
  char buffer[4096];
  ssize_t n = 0;
  while ((n = recv(fd, buffer, sizeof(buffer), 0)) > 0) {
  }
  return n == 0 || errno == ECONNRESET;
}

}  // namespace vmqd::rpc
