// The command line, read by programs: what may come next on it (tab completion), and all of it (the
// man page). Both walk the tree that main.cc parses with, so that neither can miss a verb.
#ifndef VMQD_CLIENT_COMPLETION_H_
#define VMQD_CLIENT_COMPLETION_H_

#include <functional>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "client/command.h"

namespace vmqd::cli {

struct Candidate {
  std::string word;
  std::string description;  // may be empty
};

// What may be written for an argument.
enum class ValueKind { kAnything, kFile, kDevice, kUplink, kPort, kUplinkOrPort, kQueue };

// The argument at the end of a line.
struct Place {
  ValueKind kind = ValueKind::kAnything;
  std::string uplink;  // which the line names before it
};

// What of `words`, the line without the program's name, has been read up to its last word.
struct Completion {
  std::vector<Candidate> candidates;  // that begin as the last word does
  Place place;                        // when the candidates are not in the command line's tree
  std::string begin;                  // of the value: the last word, or what follows its "="
};
Completion Complete(const CLI::App& app, const std::vector<std::string>& words);

// What the program has below `app`: verbs and options, in scdoc's notation.
std::string ManPageOf(const CLI::App& app);

// Names below `app` that are shown to people; groups of options are not among them.
std::vector<const CLI::App*> Verbs(const CLI::App& app);
// Of `app` and its groups of options, those without a name to type (positional) left out or alone.
std::vector<const CLI::Option*> OptionsOf(const CLI::App& app, bool positional);
// "--no-trusted", for each way to write it; the short one first.
std::vector<std::string> Spellings(const CLI::Option& option);

}  // namespace vmqd::cli

#endif  // VMQD_CLIENT_COMPLETION_H_
