// See syscall_gate.h.
#include "tests/unit/store/syscall_gate.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <vector>

namespace vmqd {
namespace {

constexpr long kGated[] = {SYS_pwrite64,  SYS_fdatasync, SYS_fsync,
                           SYS_ftruncate, SYS_openat,    SYS_unlinkat,
#ifdef SYS_renameat
                           SYS_renameat,
#endif
                           SYS_renameat2};

// The listener's descriptor, in the child; negative: an errno.
int InstallFilter() {
  std::vector<sock_filter> program;
  program.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)));
  for (const long call : kGated) {
    program.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<__u32>(call), 0, 1));
    program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF));
  }
  program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  const sock_fprog filter{static_cast<unsigned short>(program.size()), program.data()};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return -errno;
  const long fd =
      syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &filter);
  return fd < 0 ? -errno : static_cast<int>(fd);
}

struct Pipe {
  Pipe() {
    if (pipe2(ends.data(), O_CLOEXEC) != 0) ends = {-1, -1};
  }
  ~Pipe() {
    close(ends[0]);
    close(ends[1]);
  }
  std::array<int, 2> ends;
};

bool IsGated(const seccomp_notif& call) {
  return call.data.nr != SYS_openat || (call.data.args[2] & O_CREAT) != 0;
}

// Answers the child's calls until it has none left, by its end or by ours.
bool Serve(int listener, pid_t pid, const std::function<GateVerdict(int, long)>& verdict) {
  int number = 0;
  while (true) {
    pollfd waiting{.fd = listener, .events = POLLIN, .revents = 0};
    if (poll(&waiting, 1, -1) < 0 && errno != EINTR) return false;
    if ((waiting.revents & POLLIN) == 0) {
      if ((waiting.revents & POLLHUP) != 0) return false;
      continue;
    }
    seccomp_notif call{};
    if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &call) != 0) continue;
    const GateVerdict answer = IsGated(call) ? verdict(++number, call.data.nr) : GateVerdict{};
    if (answer.what == GateVerdict::What::kKill) {
      kill(pid, SIGKILL);
      return true;
    }
    seccomp_notif_resp response{.id = call.id};
    if (answer.what == GateVerdict::What::kFail) {
      response.error = -answer.error;
    } else {
      response.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
    }
    ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &response);
  }
}

[[noreturn]] void RunChild(const std::function<int(int)>& child, const Pipe& handshake,
                           const Pipe& report) {
  const int listener = InstallFilter();
  if (write(handshake.ends[1], &listener, sizeof(listener)) != sizeof(listener)) _exit(99);
  if (listener < 0) _exit(99);
  // Only the parent may keep the listener, or its end would never be seen there; it closes this
  // one's write end when it has taken it.
  char taken = 0;
  while (read(handshake.ends[0], &taken, 1) < 0 && errno == EINTR) {
  }
  close(listener);
  _exit(child(report.ends[1]));
}

}  // namespace

GateResult RunBehindGate(const std::function<int(int)>& child,
                         const std::function<GateVerdict(int, long)>& verdict) {
  GateResult result;
  Pipe to_parent, to_child, report;
  const pid_t pid = fork();
  if (pid == 0) {
    Pipe handshake;  // read from the one, write to the other
    dup2(to_child.ends[0], handshake.ends[0]);
    dup2(to_parent.ends[1], handshake.ends[1]);
    RunChild(child, handshake, report);
  }
  close(report.ends[1]);
  report.ends[1] = -1;
  int listener_there = -1;
  if (read(to_parent.ends[0], &listener_there, sizeof(listener_there)) !=
      static_cast<ssize_t>(sizeof(listener_there))) {
    listener_there = -EPIPE;
  }
  const int pidfd = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
  const int listener = listener_there < 0
                           ? -1
                           : static_cast<int>(syscall(SYS_pidfd_getfd, pidfd, listener_there, 0));
  if (listener < 0) {
    result.unavailable = std::strerror(listener_there < 0 ? -listener_there : errno);
    kill(pid, SIGKILL);
  } else {
    const char taken = 1;
    if (write(to_child.ends[1], &taken, 1) != 1) kill(pid, SIGKILL);
    result.killed = Serve(listener, pid, verdict);
  }
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status)) result.exit_code = WEXITSTATUS(status);
  if (listener >= 0) close(listener);
  if (pidfd >= 0) close(pidfd);
  char bytes[4096];
  for (ssize_t size; (size = read(report.ends[0], bytes, sizeof(bytes))) > 0;) {
    result.said.append(bytes, static_cast<size_t>(size));
  }
  return result;
}

}  // namespace vmqd
