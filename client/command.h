// The command line as a tree: resources, their verbs, and what a verb does once the whole line has
// been read. main.cc builds the tree by calling the Add*Commands functions, one per resource file.
#ifndef VMQD_CLIENT_COMMAND_H_
#define VMQD_CLIENT_COMMAND_H_

#include <functional>
#include <string>

#include "CLI/CLI.hpp"
#include "client/connection.h"
#include "client/name.h"

namespace vmqd::cli {

// Exit codes; part of the interface.
inline constexpr int kDone = 0;
inline constexpr int kRefused = 1;      // the daemon answered with an error
inline constexpr int kUsage = 2;        // the command line makes no sense
inline constexpr int kUnreachable = 3;  // no answer

// A verb's work: makes its calls, prints, returns the exit code.
using Action = std::function<int(Connection&)>;

struct Session {
  ConnectionOptions connection;
  std::string output = "table";  // "table", "json" or "yaml"
  Action action;                 // of the verb on the command line
};

// Adds "vmqd-cli RESOURCE"; exactly one verb must follow it.
CLI::App& AddResource(CLI::App& app, const std::string& name, const std::string& description);

// Adds a verb whose --help ends with `example`. `action` runs after the whole line was parsed, so
// it may refer to variables that options of the verb fill in.
CLI::App& AddVerb(CLI::App& resource, Session& session, const std::string& name,
                  const std::string& description, const std::string& example, Action action);

// Prints what a failed call says on stderr and returns the exit code for it.
int Fail(const Connection& connection, const grpc::Status& status);

void AddUplinkCommands(CLI::App& app, Session& session);
void AddPortCommands(CLI::App& app, Session& session);
void AddQueueCommands(CLI::App& app, Session& session);
void AddStatsCommands(CLI::App& app, Session& session);
void AddDoctorCommands(CLI::App& app, Session& session);
void AddApplyCommand(CLI::App& app, Session& session);
void AddSwitchCommands(CLI::App& app, Session& session);  // "switch" and "version"
void AddTopCommand(CLI::App& app, Session& session);
void AddEventCommands(CLI::App& app, Session& session);
void AddCleanupCommand(CLI::App& app, Session& session);
void AddCompletionCommands(CLI::App& app, Session& session);  // last: describes all the others

}  // namespace vmqd::cli

#endif  // VMQD_CLIENT_COMMAND_H_
