// See sender.h.
#include "tests/bench/sender.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <net/if.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "bench.skel.h"  // needs load.h
#include "tests/bench/namespace.h"

namespace vmqd::bench {
namespace {

constexpr uint32_t kBatch = 64;       // frames that leave together
constexpr uint32_t kProbedBatch = 8;  // while they are timed: waiting for the others counts

uint64_t NowNs() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000000000 + static_cast<uint64_t>(now.tv_nsec);
}

}  // namespace

Sender::Sender(bench_bpf* programs) : programs_(programs) {
  struct sigaction ignore {};
  ignore.sa_handler = [](int) {};  // without SA_RESTART: it is there to interrupt
  sigaction(SIGUSR1, &ignore, nullptr);
}

void Sender::Start(const std::string& space, const std::string& device, const bench_load& load) {
  Stop();
  programs_->bss->load = load;
  programs_->bss->load.start_ns = NowNs();
  programs_->bss->sent = 0;
  sending_ = true;
  ended_ = false;
  answer_ = "ok";
  const uint32_t length = load.size == 0 ? uint32_t{BENCH_LONGEST} : load.size;
  thread_.emplace([this, space, device, length] {
    Run(space, device, length);
    ended_ = true;
  });
}

std::string Sender::Stop() {
  if (!thread_) return "ok";
  sending_ = false;
  while (!ended_) {  // the signal may come between two of its calls
    pthread_kill(thread_->native_handle(), SIGUSR1);
    usleep(1000);
  }
  thread_->join();
  thread_.reset();
  return answer_;
}

void Sender::Run(const std::string& space, const std::string& device, uint32_t length) {
  if (!Enter(space)) answer_ = Error("enter " + space);
  const std::vector<uint8_t> frame(length);
  xdp_md context{};
  context.data_end = length;
  context.ingress_ifindex = if_nametoindex(device.c_str());
  while (sending_ && answer_ == "ok") {
    LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame.data(), .data_size_in = length,
                .ctx_in = &context, .ctx_size_in = sizeof(context), .repeat = 1 << 30,
                .flags = BPF_F_TEST_XDP_LIVE_FRAMES,
                .batch_size = programs_->bss->load.probe_each == 0 ? kBatch : kProbedBatch);
    const int failed =
        bpf_prog_test_run_opts(bpf_program__fd(programs_->progs.bench_send), &options);
    if (failed != 0 && failed != -EINTR && failed != -EAGAIN) {
      errno = -failed;
      answer_ = Error("send from " + device);
    }
  }
}

}  // namespace vmqd::bench
