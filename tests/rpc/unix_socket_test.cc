// The socket file: what is removed, what is left alone, and who may use it. Needs no root: the
// group given is the one the test runs under.
#include "daemon/rpc/unix_socket.h"

#include <grp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>

#include "gtest/gtest.h"

namespace vmqd::rpc {
namespace {

class UnixSocket : public testing::Test {
 protected:
  UnixSocket() {
    std::string pattern = testing::TempDir() + "vmqd-socket-XXXXXX";
    directory_ = mkdtemp(pattern.data());
    path_ = directory_ + "/s";
  }
  ~UnixSocket() override {
    if (listener_ >= 0) close(listener_);
    std::filesystem::remove_all(directory_);
  }

  void Listen() {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path_.data(), path_.size());
    listener_ = socket(AF_UNIX, SOCK_STREAM, 0);
    ASSERT_EQ(bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    ASSERT_EQ(listen(listener_, 4), 0);
  }
  void Die() {
    close(listener_);
    listener_ = -1;
  }

  std::string directory_;
  std::string path_;
  int listener_ = -1;
};

TEST_F(UnixSocket, NothingThereIsFine) { EXPECT_TRUE(ClearSocketPath(path_).ok()); }

TEST_F(UnixSocket, MakesTheLastDirectoryOnly) {
  EXPECT_TRUE(ClearSocketPath(directory_ + "/run/s").ok());
  EXPECT_TRUE(std::filesystem::is_directory(directory_ + "/run"));
  const absl::Status status = ClearSocketPath(directory_ + "/no/such/s");
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
}

TEST_F(UnixSocket, StaleSocketIsRemoved) {
  Listen();
  Die();
  ASSERT_TRUE(std::filesystem::exists(path_));
  EXPECT_TRUE(ClearSocketPath(path_).ok()) << ClearSocketPath(path_);
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(UnixSocket, LivingSocketIsLeftAlone) {
  Listen();
  const absl::Status status = ClearSocketPath(path_);
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_TRUE(std::filesystem::exists(path_));
}

TEST_F(UnixSocket, OtherFilesAreLeftAlone) {
  std::ofstream(path_) << "precious";
  EXPECT_TRUE(absl::IsFailedPrecondition(ClearSocketPath(path_)));
  EXPECT_EQ(std::filesystem::file_size(path_), 8u);
  std::filesystem::remove(path_);
  std::filesystem::create_symlink("/dev/null", path_);
  EXPECT_TRUE(absl::IsFailedPrecondition(ClearSocketPath(path_)));
  EXPECT_TRUE(std::filesystem::is_symlink(path_));
}

TEST_F(UnixSocket, PathTooLong) {
  EXPECT_TRUE(absl::IsInvalidArgument(ClearSocketPath("/" + std::string(107, 'x'))));
  EXPECT_TRUE(absl::IsInvalidArgument(ClearSocketPath("")));
}

TEST_F(UnixSocket, SharedWithAGroup) {
  Listen();
  const struct group* own = getgrgid(getegid());
  ASSERT_NE(own, nullptr);
  EXPECT_TRUE(ShareSocket(path_, own->gr_name, 0660).ok());
  struct stat file {};
  ASSERT_EQ(stat(path_.c_str(), &file), 0);
  EXPECT_EQ(file.st_mode & 07777, 0660u);
  EXPECT_EQ(file.st_gid, getegid());
}

TEST_F(UnixSocket, NoSuchGroup) {
  Listen();
  const absl::Status status = ShareSocket(path_, "no-such-group-here", 0600);
  EXPECT_TRUE(absl::IsNotFound(status)) << status;
  struct stat file {};
  ASSERT_EQ(stat(path_.c_str(), &file), 0);
  EXPECT_EQ(file.st_mode & 07777, 0600u);
}

}  // namespace
}  // namespace vmqd::rpc
