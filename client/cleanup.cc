// vmqd-cli cleanup: what is left in the kernel of a daemon that runs no more is taken out. The
// daemon's own program does it (vmqd --cleanup), as it alone knows what it left; this finds it and
// says what will happen.
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/command.h"

namespace vmqd::cli {
namespace {

// vmqd beside this program, else the first in PATH; empty: none.
std::string FindDaemon() {
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  const std::string beside = self.parent_path() / "vmqd";
  if (!error && access(beside.c_str(), X_OK) == 0) return beside;
  const char* path = getenv("PATH");
  for (const auto& directory : absl::StrSplit(path == nullptr ? "" : path, ':')) {
    const std::string program = absl::StrCat(directory, "/vmqd");
    if (!directory.empty() && access(program.c_str(), X_OK) == 0) return program;
  }
  return "";
}

int Cleanup(Connection& connection, const std::vector<std::string>& arguments) {
  if (geteuid() != 0) {
    std::cerr << "vmqd-cli: cleanup changes devices and pinned programs, and needs root for that: "
                 "sudo vmqd-cli cleanup\n";
    return kUsage;
  }
  v1::Switch sw;
  const auto status = connection.Call(&Connection::Stub::GetSwitch, v1::GetSwitchRequest(), &sw);
  if (status.error_code() != grpc::StatusCode::UNAVAILABLE) {
    std::cerr << "vmqd-cli: vmqd runs at " << connection.options().address
              << ", and what it uses cannot be taken away below it; stop it first: "
                 "systemctl stop vmqd\n";
    return kRefused;
  }
  const std::string program = FindDaemon();
  if (program.empty()) {
    std::cerr << "vmqd-cli: there is no vmqd beside vmqd-cli or in PATH, which does the work\n";
    return kRefused;
  }
  std::cout << "vmqd-cli: takes out of the kernel what a vmqd that is gone left there: pinned "
               "programs, devices it\nmade, settings it changed. The desired state stays: the next "
               "start brings uplinks and ports back.\n"
            << program << " --cleanup" << std::endl;
  std::vector<std::string> words = {program, "--cleanup"};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  execv(program.c_str(), argv.data());
  std::cerr << "vmqd-cli: cannot run " << program << ": " << std::strerror(errno) << "\n";
  return kRefused;
}

}  // namespace

void AddCleanupCommand(CLI::App& app, Session& session) {
  struct Options {
    std::string config, state_directory, bpf_directory;
  };
  auto options = std::make_shared<Options>();
  CLI::App& verb = AddVerb(
      app, session, "cleanup", "Take out of the kernel what a daemon that is gone left there",
      "sudo systemctl stop vmqd && sudo vmqd-cli cleanup", [options](Connection& connection) {
        std::vector<std::string> arguments;
        const auto add = [&](const char* flag, const std::string& value) {
          if (!value.empty()) arguments.insert(arguments.end(), {flag, value});
        };
        add("--config", options->config);
        add("--state-directory", options->state_directory);
        add("--bpf-directory", options->bpf_directory);
        return Cleanup(connection, arguments);
      });
  verb.add_option("--config", options->config, "The daemon's settings, if not the usual file")
      ->type_name("FILE");
  verb.add_option("--state-directory", options->state_directory, "Where its desired state is")
      ->type_name("DIRECTORY");
  verb.add_option("--bpf-directory", options->bpf_directory, "Where its programs are pinned")
      ->type_name("DIRECTORY");
}

}  // namespace vmqd::cli
