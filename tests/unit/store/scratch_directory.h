// A directory that is gone when the test is over. In memory where there is /dev/shm: damage is
// tried by the thousand, and what a disk adds to that is only time.
#ifndef VMQD_TESTS_UNIT_STORE_SCRATCH_DIRECTORY_H_
#define VMQD_TESTS_UNIT_STORE_SCRATCH_DIRECTORY_H_

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <string>

namespace vmqd {

inline constexpr char kInMemory[] = "/dev/shm";

class ScratchDirectory {
 public:
  explicit ScratchDirectory(const std::string& where = kInMemory) {
    std::string name = (std::filesystem::is_directory(where) ? where : ::testing::TempDir()) +
                       "/vmqd-store-XXXXXX";
    path_ = mkdtemp(name.data());
  }
  ~ScratchDirectory() { std::filesystem::remove_all(path_); }
  ScratchDirectory(const ScratchDirectory&) = delete;
  ScratchDirectory& operator=(const ScratchDirectory&) = delete;

  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

  std::string Read(const std::string& name) const {
    std::ifstream file(*this / name, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  void Write(const std::string& name, const std::string& bytes) const {
    std::ofstream(*this / name, std::ios::binary | std::ios::trunc) << bytes;
  }
  bool Has(const std::string& name) const { return std::filesystem::exists(*this / name); }

  using Files = std::map<std::string, std::string>;  // name to bytes
  Files All() const {
    Files files;
    for (const auto& entry : std::filesystem::directory_iterator(path_)) {
      files[entry.path().filename()] = Read(entry.path().filename());
    }
    return files;
  }
  void Become(const Files& files) const {
    for (const auto& entry : std::filesystem::directory_iterator(path_)) {
      std::filesystem::remove(entry.path());
    }
    for (const auto& [name, bytes] : files) Write(name, bytes);
  }

 private:
  std::string path_;
};

}  // namespace vmqd

#endif  // VMQD_TESTS_UNIT_STORE_SCRATCH_DIRECTORY_H_
