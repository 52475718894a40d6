// Ends that are descriptors: a frame a read and a frame a write.
#ifndef VMQD_TESTS_BENCH_E2E_FILE_END_H_
#define VMQD_TESTS_BENCH_E2E_FILE_END_H_

#include <memory>
#include <string>
#include <vector>

#include "tests/bench/e2e/end.h"

namespace vmqd::bench {

class FileEnd : public End {
 public:
  // Each in the calling thread's network namespace; nullptr: see errno.
  // A VM that has opened the tap, with a virtio_net_hdr before each frame.
  static std::unique_ptr<FileEnd> Tap(const std::string& device);
  // The wire of a NIC that is a tap with so many queues: a frame arrives on the queue that is the
  // receiver's address modulo `queues`.
  static std::unique_ptr<FileEnd> Nic(const std::string& device, int queues);
  // Sends out of a device, and hears nothing.
  static std::unique_ptr<FileEnd> Packet(const std::string& device);

  ~FileEnd() override;
  // From then on this end has nothing else to send.
  bool Stream(const bench_load& load, uint32_t segments) override;

 protected:
  bool SendOne(uint64_t number) override;
  uint32_t Receive() override;
  void Answer(const uint8_t* frame, size_t length) override;

 private:
  FileEnd(std::vector<int> files, size_t header, bool hears);

  size_t QueueOf(const uint8_t* frame) const;
  bool Write(size_t file, size_t length);  // what is in out_

  const std::vector<int> files_;
  const size_t header_;  // bytes before a frame
  const bool hears_;
  size_t stream_bytes_ = 0;  // of the one frame of a stream, in out_; 0: frames of load.h
  std::vector<uint8_t> out_, answer_, in_;
};

}  // namespace vmqd::bench

#endif  // VMQD_TESTS_BENCH_E2E_FILE_END_H_
