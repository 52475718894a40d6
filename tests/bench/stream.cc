// One TCP stream, for guests that have no iperf3; linked statically, to be copied into them.
//   vmqd_bench_stream receive PORT              one connection; prints: bytes N ns N
//   vmqd_bench_stream send ADDRESS PORT SECONDS
// The time is the receiver's, from its first byte to its last.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace {

constexpr ssize_t kChunk = 256 << 10;

int64_t NowNs() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1000000000 + now.tv_nsec;
}

int Failed(const char* what) {
  std::perror(what);
  return 1;
}

sockaddr_in At(in_addr_t address, const char* port) {
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_port = htons(static_cast<uint16_t>(std::atoi(port)));
  at.sin_addr.s_addr = address;
  return at;
}

int Receive(const char* port) {
  const int listener = socket(AF_INET, SOCK_STREAM, 0);
  const int yes = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
  const sockaddr_in at = At(INADDR_ANY, port);
  if (bind(listener, reinterpret_cast<const sockaddr*>(&at), sizeof(at)) != 0) {
    return Failed("bind");
  }
  if (listen(listener, 1) != 0) return Failed("listen");
  const int connection = accept(listener, nullptr, nullptr);
  std::vector<char> buffer(kChunk);
  int64_t bytes = 0, first = 0, last = 0;
  for (ssize_t got; (got = read(connection, buffer.data(), kChunk)) != 0; bytes += got) {
    if (got < 0) return Failed("read");
    last = NowNs();
    if (bytes == 0) first = last;
  }
  std::printf("bytes %lld ns %lld\n", static_cast<long long>(bytes),
              static_cast<long long>(last - first));
  return 0;
}

int Send(const char* address, const char* port, double seconds) {
  const int connection = socket(AF_INET, SOCK_STREAM, 0);
  const sockaddr_in at = At(inet_addr(address), port);
  // The receiver may need a moment to listen.
  for (int i = 0; connect(connection, reinterpret_cast<const sockaddr*>(&at), sizeof(at)) != 0;) {
    if (++i == 100) return Failed("connect");
    usleep(100000);
  }
  const std::vector<char> buffer(kChunk, 'v');
  const int64_t end = NowNs() + static_cast<int64_t>(seconds * 1e9);
  while (NowNs() < end) {
    if (write(connection, buffer.data(), kChunk) < 0) return Failed("write");
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 3 && std::strcmp(argv[1], "receive") == 0) return Receive(argv[2]);
  if (argc == 5 && std::strcmp(argv[1], "send") == 0) {
    return Send(argv[2], argv[3], std::atof(argv[4]));
  }
  std::fprintf(stderr, "usage: vmqd_bench_stream receive PORT | send ADDRESS PORT SECONDS\n");
  return 2;
}
