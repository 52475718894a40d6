#include "daemon/xdp/socket.h"

#include <linux/if_xdp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace vmqd {
namespace {

// linux/if_xdp.h of Linux 6.17; Debian 12's headers are older.
constexpr int kXdpMaxTxSkbBudget = 9;
// Of Linux 6.6.
constexpr uint16_t kXdpUseSg = 1 << 4;
constexpr uint32_t kXdpPktContd = 1 << 0;
// A release is deferred by the kernel for 15-20 ms (measured); ten times that is patience enough.
constexpr std::chrono::milliseconds kBindPatience{400};
constexpr std::chrono::milliseconds kBindRetry{2};
// Transmit calls of one Kick; what is left goes out with the next turn.
constexpr int kMaxKicks = 64;

absl::Status BindError(const XskSocket::Options& options, int error) {
  std::string cure;
  switch (error) {
    case EBUSY:
      cure = "another AF_XDP socket holds the queue; end the program that opened it";
      break;
    case EINVAL:
    case ENODEV:
      cure = "does the device have that queue, and is it up?";
      break;
    case EOPNOTSUPP:
      cure = "its driver has no AF_XDP; try xdp_mode GENERIC";
      break;
    case ENOBUFS:
    case ENOMEM:
      cure = "raise the locked-memory limit (LimitMEMLOCK) or ask for fewer buffers_per_queue";
      break;
    case EMFILE:
    case ENFILE:
      cure = "raise the open-file limit (LimitNOFILE)";
      break;
    case EPERM:
      cure = "vmqd needs CAP_NET_RAW";
      break;
    default:
      cure = "see the kernel log";
  }
  return absl::FailedPreconditionError(absl::StrCat("opening an AF_XDP socket on queue ",
                                                    options.queue, " of ", options.device, ": ",
                                                    std::strerror(error), "; ", cure));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Umem>> Umem::Register(FrameArea& area, RingSizes sizes) {
  std::unique_ptr<Umem> umem(new Umem(area, sizes));
  xsk_umem_config config{};
  config.fill_size = sizes.fill;
  config.comp_size = sizes.completion;
  config.frame_size = area.buffer_size();
  const int error = -xsk_umem__create(&umem->umem_, area.base(), area.size(), &umem->fill_,
                                      &umem->completion_, &config);
  if (error != 0) {
    return absl::ResourceExhaustedError(
        absl::StrCat("registering ", area.size() >> 20,
                     " MiB of frame buffers with AF_XDP: ", std::strerror(error),
                     "; raise the locked-memory limit (LimitMEMLOCK, or CAP_IPC_LOCK) or ask for "
                     "fewer buffers_per_queue"));
  }
  return umem;
}

Umem::~Umem() {
  if (umem_ != nullptr) xsk_umem__delete(umem_);
}

absl::StatusOr<std::unique_ptr<XskSocket>> XskSocket::Open(Umem& umem, const Options& options) {
  std::unique_ptr<XskSocket> socket(new XskSocket(umem, options));
  if (absl::Status status = socket->Bind(); !status.ok()) return status;

  xdp_options kernel{};
  socklen_t length = sizeof(kernel);
  if (getsockopt(socket->fd(), SOL_XDP, XDP_OPTIONS, &kernel, &length) == 0) {
    socket->zero_copy_ = kernel.flags & XDP_OPTIONS_ZEROCOPY;
  }
  if (options.tx_size > 0) {
    // Not there before 6.17: a call moves 32 frames then, and Kick makes more calls.
    const int budget = static_cast<int>(std::max(options.tx_size, 32u));
    setsockopt(socket->fd(), SOL_XDP, kXdpMaxTxSkbBudget, &budget, sizeof(budget));
  }
  return socket;
}

absl::Status XskSocket::Bind() {
  // libxdp 1.3 keeps a reference of the umem, and with it the queue, when it gets no descriptor.
  const int probe = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
  if (probe < 0) return BindError(options_, errno);
  close(probe);
  // The rings that came with the registration belong to its first anchor; libxdp wants every
  // further anchor to bring its own, and ignores what a later socket of the same queue brings.
  const bool first = options_.anchor && !umem_->first_taken_;
  fill_ = first ? &umem_->fill_ : &own_fill_;
  completion_ = first ? &umem_->completion_ : &own_completion_;
  if (!umem_->first_taken_ && options_.buffers_per_frame > 1) {
    umem_->chains_ = BindAs(true, first).ok();
    if (umem_->chains_) return absl::OkStatus();
    // An older kernel does not know the flag, or something else is wrong and will be so again.
  }
  return BindAs(false, first);
}

absl::Status XskSocket::BindAs(bool chains, bool first) {
  xsk_socket_config config{};
  config.rx_size = options_.rx_size;
  config.tx_size = options_.tx_size;
  config.libxdp_flags = XSK_LIBXDP_FLAGS__INHIBIT_PROG_LOAD;
  config.bind_flags = XDP_USE_NEED_WAKEUP;
  if (chains) config.bind_flags |= kXdpUseSg;
  if (options_.copy == Copy::kForced) config.bind_flags |= XDP_COPY;
  const auto deadline = std::chrono::steady_clock::now() + kBindPatience;
  for (;;) {
    const int error = -xsk_socket__create_shared(
        &socket_, options_.device.c_str(), options_.queue, umem_->umem_,
        options_.rx_size > 0 ? &rx_ : nullptr, options_.tx_size > 0 ? &tx_ : nullptr, fill_,
        completion_, &config);
    if (error == 0) break;
    socket_ = nullptr;
    if (error != EBUSY || std::chrono::steady_clock::now() > deadline) {
      return BindError(options_, error);
    }
    std::this_thread::sleep_for(kBindRetry);
  }
  if (first) umem_->first_taken_ = true;
  return absl::OkStatus();
}

XskSocket::~XskSocket() {
  if (socket_ != nullptr) xsk_socket__delete(socket_);
}

uint32_t XskSocket::Receive(TailRoom& tails, Frame* out, uint32_t max, int64_t bytes) {
  if (chains()) return ReceiveChains(tails, out, max, bytes);
  uint32_t index = 0;
  const uint32_t available = xsk_ring_cons__peek(&rx_, max, &index);
  uint32_t taken = 0;
  while (taken < available && bytes > 0) {
    const xdp_desc* desc = xsk_ring_cons__rx_desc(&rx_, index + taken);
    out[taken] = {desc->addr, desc->len};
    bytes -= desc->len;
    ++taken;
  }
  if (taken < available) xsk_ring_cons__cancel(&rx_, available - taken);
  if (taken > 0) xsk_ring_cons__release(&rx_, taken);
  return taken;
}

uint32_t XskSocket::ReceiveChains(TailRoom& tails, Frame* out, uint32_t max, int64_t bytes) {
  uint32_t index = 0;
  const uint32_t available = xsk_ring_cons__peek(&rx_, options_.rx_size, &index);
  uint32_t taken = 0, count = 0;
  while (taken < max && bytes > 0) {
    const uint32_t buffers = DescriptorsOfNext(index + taken, available - taken);
    if (buffers == 0 || (count > 0 && taken + buffers > max)) break;
    if (buffers > 1 && !tails.HasForReceived(buffers - 1)) break;
    out[count] = Assemble(tails, index + taken, buffers);
    bytes -= out[count++].len;
    taken += buffers;
  }
  if (taken < available) xsk_ring_cons__cancel(&rx_, available - taken);
  if (taken > 0) xsk_ring_cons__release(&rx_, taken);
  return count;
}

// 0: there is none, or its end has not come yet.
uint32_t XskSocket::DescriptorsOfNext(uint32_t index, uint32_t available) const {
  for (uint32_t i = 0; i < available; ++i) {
    if (!(xsk_ring_cons__rx_desc(&rx_, index + i)->options & kXdpPktContd)) return i + 1;
  }
  return 0;
}

Frame XskSocket::Assemble(TailRoom& tails, uint32_t index, uint32_t count) {
  const xdp_desc* first = xsk_ring_cons__rx_desc(&rx_, index);
  Frame frame{first->addr, first->len};
  if (count == 1) return frame;
  FramePiece* pieces;
  frame.tail = tails.Take(count - 1, &pieces);
  frame.tail->head = frame.len;
  for (uint32_t i = 1; i < count; ++i, ++pieces) {
    const xdp_desc* desc = xsk_ring_cons__rx_desc(&rx_, index + i);
    *pieces = {.bytes = {area().Data(desc->addr), desc->len}, .buffer = desc->addr};
    area().SetOwner(desc->addr, FrameArea::kInHand);
    frame.len += desc->len;
  }
  frame.tail->wire_len = frame.len;
  return frame;
}

uint32_t XskSocket::RxBacklog() const {
  // In this order, so that it is never below zero for who is not the consumer.
  const uint32_t taken = __atomic_load_n(rx_.consumer, __ATOMIC_RELAXED);
  return __atomic_load_n(rx_.producer, __ATOMIC_ACQUIRE) - taken;
}

uint32_t XskSocket::TxRoom() { return xsk_prod_nb_free(&tx_, options_.tx_size); }

void XskSocket::Transmit(const Frame* frames, uint32_t count, uint32_t buffers) {
  uint32_t index = 0;
  if (xsk_ring_prod__reserve(&tx_, buffers, &index) != buffers) return;  // a broken promise
  if (buffers != count) {
    TransmitChains(frames, count, index);
  } else {
    for (uint32_t i = 0; i < count; ++i) {
      // Options stay 0: the kernel honours XDP_PKT_CONTD even on sockets without XDP_USE_SG.
      *xsk_ring_prod__tx_desc(&tx_, index + i) = {frames[i].addr, frames[i].len, 0};
    }
  }
  xsk_ring_prod__submit(&tx_, buffers);
  tx_queued_ += buffers;
}

void XskSocket::TransmitChains(const Frame* frames, uint32_t count, uint32_t index) {
  for (uint32_t i = 0; i < count; ++i) {
    const Frame& frame = frames[i];
    const uint32_t pieces = frame.tail == nullptr ? 0 : frame.tail->piece_count;
    *xsk_ring_prod__tx_desc(&tx_, index++) = {
        frame.addr, pieces == 0 ? frame.len : frame.tail->head, pieces == 0 ? 0 : kXdpPktContd};
    for (uint32_t next = 0; next < pieces; ++next) {
      const FramePiece& piece = frame.tail->pieces[next];
      *xsk_ring_prod__tx_desc(&tx_, index++) = {piece.buffer, piece.bytes.size(),
                                                next + 1 < pieces ? kXdpPktContd : 0};
    }
  }
}

uint32_t XskSocket::TxBacklog() const {
  return *tx_.producer - __atomic_load_n(tx_.consumer, __ATOMIC_ACQUIRE);
}

uint32_t XskSocket::Kick() {
  uint32_t refused = 0;
  uint64_t calls = 0;
  for (int i = 0; i < kMaxKicks && tx_queued_ > 0; ++i) {
    if (!xsk_ring_prod__needs_wakeup(&tx_)) break;  // zero-copy, and the driver is awake
    ++calls;
    const uint32_t queued = tx_queued_;
    const ssize_t sent = sendto(fd(), nullptr, 0, MSG_DONTWAIT, nullptr, 0);
    const int error = sent < 0 ? errno : 0;
    tx_queued_ = TxBacklog();
    if (error == EBUSY) {
      refused = 1;
      break;
    }
    // EAGAIN with progress: the budget of one call is used up. Without, ENOBUFS, and all else:
    // later.
    if (zero_copy_ || tx_queued_ == queued) break;
  }
  if (calls > 0) kicks_.Add(calls);
  if (zero_copy_) tx_queued_ = TxBacklog();
  return refused;
}

bool XskSocket::Bound() const {
  return zero_copy_ || recv(fd(), nullptr, 0, MSG_DONTWAIT) >= 0 || errno != ENXIO;
}

uint32_t XskSocket::NapiId() const {
  uint32_t napi = 0;
  socklen_t size = sizeof(napi);
  return getsockopt(fd(), SOL_SOCKET, SO_INCOMING_NAPI_ID, &napi, &size) == 0 ? napi : 0;
}

absl::Status XskSocket::PreferBusyPoll(bool prefer) {
  constexpr int kBudget = 64;  // frames of one poll: what NAPI has by itself
  const struct {
    int name, value;
  } options[] = {{SO_PREFER_BUSY_POLL, prefer},
                 {SO_BUSY_POLL, prefer ? 20 : 0},  // us; a call that does not wait polls once
                 {SO_BUSY_POLL_BUDGET, kBudget}};
  for (const auto& option : options) {
    if (setsockopt(fd(), SOL_SOCKET, option.name, &option.value, sizeof(option.value)) == 0) {
      continue;
    }
    return absl::ErrnoToStatus(
        errno, absl::StrCat("asking for busy polling on queue ", queue(), " of ", options_.device));
  }
  return absl::OkStatus();
}

uint32_t XskSocket::Complete(uint64_t* out, uint32_t max) {
  uint32_t index = 0;
  const uint32_t count = xsk_ring_cons__peek(completion_, max, &index);
  for (uint32_t i = 0; i < count; ++i) out[i] = *xsk_ring_cons__comp_addr(completion_, index + i);
  if (count > 0) {
    xsk_ring_cons__release(completion_, count);
    completions_.Add(count);
  }
  return count;
}

uint32_t XskSocket::FillRoom() { return xsk_prod_nb_free(fill_, umem_->sizes_.fill); }

void XskSocket::Fill(const uint64_t* buffers, uint32_t count) {
  uint32_t index = 0;
  if (xsk_ring_prod__reserve(fill_, count, &index) != count) return;
  for (uint32_t i = 0; i < count; ++i) *xsk_ring_prod__fill_addr(fill_, index + i) = buffers[i];
  xsk_ring_prod__submit(fill_, count);
}

void XskSocket::KickFillIfNeeded() {
  if (xsk_ring_prod__needs_wakeup(fill_)) {
    recvfrom(fd(), nullptr, 0, MSG_DONTWAIT, nullptr, nullptr);
  }
}

xdp_statistics XskSocket::Statistics() const {
  xdp_statistics statistics{};
  socklen_t length = sizeof(statistics);
  getsockopt(fd(), SOL_XDP, XDP_STATISTICS, &statistics, &length);
  return statistics;
}

}  // namespace vmqd
