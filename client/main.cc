// vmqd-cli: the operator's view of vmqd. Parses the command line, makes the calls of one verb,
// prints the answer. Speaks nothing but the API in proto/.
#include <exception>
#include <iostream>
#include <string>
#include <vector>

#include "absl/strings/str_join.h"
#include "client/command.h"

namespace vmqd::cli {
namespace {

void AddGlobalOptions(CLI::App& app, Session& session) {
  app.add_option("-a,--address", session.connection.address, "Where vmqd listens")
      ->envname("VMQD_ADDRESS")
      ->capture_default_str();
  app.add_option("-o,--output", session.output, "How to print")
      ->check(CLI::IsMember({"table", "json", "yaml"}))
      ->capture_default_str();
  app.add_option("--timeout", session.connection.timeout_seconds, "Seconds to wait for each answer")
      ->check(CLI::Range(0.001, 86400.0))
      ->capture_default_str();
}

// What may follow `app`: "add, set, list, show or del".
std::string Choices(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* verb : app.get_subcommands([](const CLI::App* sub) {
         return !sub->get_name().empty() &&
                !sub->get_group().empty();  // option groups; hidden ones
       })) {
    names.push_back(verb->get_name());
  }
  return absl::StrJoin(names, ", ");
}

int Usage(const CLI::App& app, const CLI::ParseError& error) {
  const CLI::App* deepest = &app;
  std::string path = "vmqd-cli";
  while (!deepest->get_subcommands().empty()) {
    deepest = deepest->get_subcommands().front();
    path += " " + deepest->get_name();
  }
  const std::string choices = Choices(*deepest);
  std::cerr << "vmqd-cli: "
            << (choices.empty() ? error.what() : path + " must be followed by one of " + choices)
            << "\n  " << path << " --help shows more\n";
  return kUsage;
}

int Run(int argc, char** argv) {
  CLI::App app("Shows and changes what the vmqd virtual switch does.", "vmqd-cli");
  Session session;
  app.fallthrough();  // global options may stand anywhere
  app.require_subcommand(1);
  app.footer(
      "Examples:\n"
      "  vmqd-cli uplink add eth1\n"
      "  vmqd-cli port add vm1 --tap tap-vm1 --mac 52:54:00:00:00:01\n"
      "  vmqd-cli queue list\n"
      "  vmqd-cli top\n"
      "  vmqd-cli apply -f switch.yaml --dry-run\n\n"
      "Exit codes: 0 done, 1 refused by the daemon, 2 usage, 3 daemon not reachable.");
  AddGlobalOptions(app, session);
  AddUplinkCommands(app, session);
  AddPortCommands(app, session);
  AddQueueCommands(app, session);
  AddTopCommand(app, session);
  AddStatsCommands(app, session);
  AddSwitchCommands(app, session);
  AddApplyCommand(app, session);
  AddDoctorCommands(app, session);
  AddEventCommands(app, session);
  AddCleanupCommand(app, session);
  AddCompletionCommands(app, session);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help
    return Usage(app, error);
  }
  Connection connection(session.connection);
  const int exit_code = session.action(connection);
  std::cout.flush();
  if (std::cout) return exit_code;
  std::cerr << "vmqd-cli: the answer could not be written to standard output\n";
  return kRefused;
}

}  // namespace
}  // namespace vmqd::cli

int main(int argc, char** argv) {
  try {
    return vmqd::cli::Run(argc, argv);
  } catch (const std::exception& error) {
    std::cerr << "vmqd-cli: " << error.what() << "\n";
    return vmqd::cli::kUsage;
  }
}
