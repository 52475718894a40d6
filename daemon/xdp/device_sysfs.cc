// Facts from sysfs; the contract is in the header.
#include "daemon/xdp/device_sysfs.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>
#include <string_view>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace vmqd {
namespace {

// A descriptor of a sysfs mount for the calling thread's network namespace, or -1.
int MountDetached() {
  const int context = fsopen("sysfs", FSOPEN_CLOEXEC);
  if (context < 0) return -1;
  int mount = -1;
  if (fsconfig(context, FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) == 0) {
    mount = fsmount(context, FSMOUNT_CLOEXEC, 0);
  }
  close(context);
  return mount;
}

int OpenDevice(int sysfs, const std::string& name) {
  const std::string path = absl::StrCat("class/net/", name);
  return openat(sysfs, path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

}  // namespace

DeviceSysfs::DeviceSysfs(const Link& link) {
  const int mounted = open("/sys", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (mounted >= 0) {
    directory_ = OpenDevice(mounted, link.name);
    close(mounted);
  }
  if (directory_ >= 0 && Shows(link)) return;
  if (directory_ >= 0) close(directory_);
  directory_ = -1;
  const int own = MountDetached();
  if (own < 0) return;
  directory_ = OpenDevice(own, link.name);
  close(own);
}

DeviceSysfs::~DeviceSysfs() {
  if (directory_ >= 0) close(directory_);
}

int DeviceSysfs::NumaNode() const {
  int node = -1;
  return absl::SimpleAtoi(Read("device/numa_node"), &node) ? node : -1;
}

uint32_t DeviceSysfs::ReceiveQueues() const {
  const int fd = openat(directory_, "queues", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return 0;
  DIR* entries = fdopendir(fd);
  if (entries == nullptr) {
    close(fd);
    return 0;
  }
  uint32_t queues = 0;
  while (const dirent* entry = readdir(entries)) {
    if (std::string_view(entry->d_name).starts_with("rx-")) ++queues;
  }
  closedir(entries);
  return queues;
}

bool DeviceSysfs::Shows(const Link& link) const {
  return Read("ifindex") == absl::StrCat(link.ifindex) && Read("address") == link.mac.ToString();
}

std::string DeviceSysfs::Read(const std::string& file) const {
  const int fd = openat(directory_, file.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return "";
  char text[64];
  const ssize_t length = read(fd, text, sizeof(text));
  close(fd);
  if (length <= 0) return "";
  const std::string all(text, static_cast<size_t>(length));
  return all.substr(0, all.find('\n'));
}

int DeviceSysfs::Write(const std::string& file, const std::string& text) const {
  const int fd = openat(directory_, file.c_str(), O_WRONLY | O_CLOEXEC);
  if (fd < 0) return errno;
  const int error = write(fd, text.data(), text.size()) < 0 ? errno : 0;
  close(fd);
  return error;
}

}  // namespace vmqd
