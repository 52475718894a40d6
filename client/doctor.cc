// vmqd-cli doctor: what will and will not work on this machine and NIC. The daemon is asked,
// because its privileges and its namespace count. Where no daemon runs on this machine, the program
// vmqd looks for itself (`vmqd --doctor NIC --output json`), with the operator's privileges.
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <memory>

#include "absl/strings/str_cat.h"
#include "client/command.h"
#include "client/output.h"
#include "google/protobuf/util/json_util.h"

namespace vmqd::cli {
namespace {

std::string LevelText(v1::FindingLevel level) {
  // A problem is to be seen among thirty lines.
  const std::string name = v1::FindingLevel_Name(level);
  return level == v1::PROBLEM ? name : EnumText(name);
}

// 0 when there is no problem, 1 when there is one.
int Print(const Session& session, const v1::DiagnoseResponse& response) {
  PrintAs(session.output, response, [&] {
    Table table({{"SUBJECT"}, {"FINDING"}, {"LEVEL"}, {"SEEN"}});
    for (const v1::Finding& finding : response.findings()) {
      table.AddRow({finding.subject(), finding.name(), LevelText(finding.level()),
                    finding.advice().empty()
                        ? finding.seen()
                        : absl::StrCat(finding.seen(), "\n-> ", finding.advice())});
    }
    table.Print();
  });
  const bool problem =
      std::any_of(response.findings().begin(), response.findings().end(),
                  [](const v1::Finding& finding) { return finding.level() == v1::PROBLEM; });
  return problem ? kRefused : kDone;
}

// The program vmqd beside this one; else its name, to be looked for in PATH.
std::string DaemonProgram() {
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  const std::filesystem::path beside = self.parent_path() / "vmqd";
  return !error && access(beside.c_str(), X_OK) == 0 ? beside.string() : "vmqd";
}

struct Ended {
  int error = 0;  // errno of starting it
  int status = 0;
  std::string output;
};

// Runs a program to its end and takes what it writes to its standard output.
Ended RunProgram(std::vector<std::string> words) {
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  int ends[2];
  if (pipe(ends) != 0) return {.error = errno};
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  posix_spawn_file_actions_addclose(&actions, ends[0]);
  posix_spawn_file_actions_addclose(&actions, ends[1]);
  pid_t pid = 0;
  Ended ended;
  ended.error = posix_spawnp(&pid, arguments[0], &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  char text[4096];
  for (ssize_t length = 0; (length = read(ends[0], text, sizeof(text))) > 0;) {
    ended.output.append(text, static_cast<size_t>(length));
  }
  close(ends[0]);
  if (ended.error == 0) waitpid(pid, &ended.status, 0);
  return ended;
}

int WithoutDaemon(const Session& session, const Connection& connection, const std::string& device) {
  const std::string program = DaemonProgram();
  std::cerr << "vmqd-cli: no vmqd answers at " << connection.options().address
            << "; this is what vmqd --doctor says, with your privileges\n";
  std::vector<std::string> words = {program, "--doctor"};
  if (!device.empty()) words.push_back(device);
  words.insert(words.end(), {"--output", "json"});
  const Ended ended = RunProgram(std::move(words));
  if (ended.error != 0) {
    std::cerr << "vmqd-cli: " << program << " cannot be started: " << std::strerror(ended.error)
              << "\n  start vmqd, or run vmqd --doctor where it is installed\n";
    return kUnreachable;
  }
  if (WIFSIGNALED(ended.status)) {
    std::cerr << "vmqd-cli: " << program << " was ended by signal " << WTERMSIG(ended.status)
              << "\n";
    return kRefused;
  }
  v1::DiagnoseResponse response;
  // It has said on standard error what went wrong when it says nothing here.
  if (ended.output.empty() ||
      !google::protobuf::util::JsonStringToMessage(ended.output, &response).ok()) {
    if (!ended.output.empty()) std::cerr << "vmqd-cli: " << program << " is of another version\n";
    return kRefused;
  }
  return Print(session, response);
}

int Diagnose(const Session& session, Connection& connection, const std::string& device) {
  v1::DiagnoseRequest request;
  request.set_device(device);
  v1::DiagnoseResponse response;
  const auto status = connection.Call(&Connection::Stub::Diagnose, request, &response);
  if (status.ok()) return Print(session, response);
  // A daemon elsewhere, or one that does not let us in, is not one that does not run here.
  const bool absent = status.error_code() == grpc::StatusCode::UNAVAILABLE &&
                      connection.options().address.starts_with("unix:") &&
                      status.error_message().find("Permission denied") == std::string::npos;
  return absent ? WithoutDaemon(session, connection, device) : Fail(connection, status);
}

}  // namespace

void AddDoctorCommands(CLI::App& app, Session& session) {
  auto device = std::make_shared<std::string>();
  AddVerb(
      app, session, "doctor",
      "Say what will and will not work on this machine and NIC; change nothing",
      "vmqd-cli doctor eth1",
      [&session, device](Connection& connection) { return Diagnose(session, connection, *device); })
      .add_option("NIC", *device, "A network device; without it, the machine only");
}

}  // namespace vmqd::cli
