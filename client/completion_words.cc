// What may come next on a command line. See completion.h.
#include <algorithm>
#include <map>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/completion.h"

namespace vmqd::cli {
namespace {

bool TakesValue(const CLI::Option& option) { return option.get_items_expected_max() > 0; }

// A line as far as it was read.
struct Line {
  std::vector<const CLI::App*> path;  // from the program to the deepest verb
  size_t positionals = 0;             // words that belong to the last of them
  std::string uplink;
  const CLI::Option* open = nullptr;  // waits for its value
  bool only_positionals = false;      // behind "--"
  bool lost = false;                  // behind a verb that there is not
};

const CLI::Option* FindOption(const Line& line, const std::string& spelling) {
  for (auto app = line.path.rbegin(); app != line.path.rend(); ++app) {
    for (const CLI::Option* option : OptionsOf(**app, /*positional=*/false)) {
      const std::vector<std::string> spellings = Spellings(*option);
      if (std::find(spellings.begin(), spellings.end(), spelling) != spellings.end()) {
        return option;
      }
    }
  }
  return nullptr;
}

const CLI::Option* PositionalAt(const CLI::App& verb, size_t index) {
  const std::vector<const CLI::Option*> positionals = OptionsOf(verb, /*positional=*/true);
  if (index < positionals.size()) return positionals[index];
  // The last one may take all that follow.
  if (positionals.empty() || positionals.back()->get_items_expected_max() <= 1) return nullptr;
  return positionals.back();
}

ValueKind KindOfName(const Line& line) {
  const std::string& verb = line.path.back()->get_name();
  if (verb == "add") return ValueKind::kAnything;  // a new one
  const std::string resource = line.path.size() > 1 ? line.path[1]->get_name() : "";
  if (resource == "port") return ValueKind::kPort;
  if (resource == "uplink") return ValueKind::kUplink;
  return ValueKind::kUplinkOrPort;
}

ValueKind KindOf(const Line& line, const CLI::Option& option) {
  static const auto* kinds = new std::map<std::string, ValueKind, std::less<>>{
      {"UPLINK", ValueKind::kUplink},   {"--uplink", ValueKind::kUplink},
      {"PORT", ValueKind::kPort},       {"--port", ValueKind::kPort},
      {"QUEUE", ValueKind::kQueue},     {"--queue", ValueKind::kQueue},
      {"DEVICE", ValueKind::kDevice},   {"NIC", ValueKind::kDevice},
      {"--netdev", ValueKind::kDevice}, {"--file", ValueKind::kFile},
      {"FILE", ValueKind::kFile},       {"--config", ValueKind::kFile}};
  std::vector<std::string> names = Spellings(option);
  if (option.get_positional()) names.push_back(option.get_name(true));
  for (const std::string& name : names) {
    if (name == "NAME") return KindOfName(line);
    if (const auto kind = kinds->find(name); kind != kinds->end()) return kind->second;
  }
  return option.get_type_name() == "FILE" ? ValueKind::kFile : ValueKind::kAnything;
}

// "TEXT:{table,json,yaml}" -> table, json, yaml; also "ENUM:value in {auto->0,off->1}".
std::vector<std::string> Choices(const CLI::Option& option) {
  const std::string type = option.get_type_name();
  const size_t begin = type.find('{'), end = type.find('}');
  if (begin == std::string::npos || end == std::string::npos) return {};
  std::vector<std::string> choices;
  for (const auto& choice : absl::StrSplit(type.substr(begin + 1, end - begin - 1), ',')) {
    choices.push_back(std::vector<std::string>(absl::StrSplit(choice, "->"))[0]);
  }
  return choices;
}

void Read(const std::string& word, Line& line) {
  if (line.open != nullptr) {
    if (KindOf(line, *line.open) == ValueKind::kUplink) line.uplink = word;
    line.open = nullptr;
    return;
  }
  if (word == "--") {
    line.only_positionals = true;
    return;
  }
  if (!line.only_positionals && word.size() > 1 && word[0] == '-') {
    const size_t equals = word.find('=');
    const CLI::Option* option = FindOption(line, word.substr(0, equals));
    if (option == nullptr || !TakesValue(*option)) return;
    if (equals == std::string::npos) {
      line.open = option;
    } else if (KindOf(line, *option) == ValueKind::kUplink) {
      line.uplink = word.substr(equals + 1);
    }
    return;
  }
  for (const CLI::App* verb : Verbs(*line.path.back())) {
    if (verb->get_name() != word) continue;
    line.path.push_back(verb);
    return;
  }
  const CLI::Option* positional = PositionalAt(*line.path.back(), line.positionals++);
  line.lost = line.lost || (positional == nullptr && !Verbs(*line.path.back()).empty());
  if (positional != nullptr && KindOf(line, *positional) == ValueKind::kUplink) line.uplink = word;
}

void CompleteValue(const Line& line, const CLI::Option& option, Completion& completion) {
  for (const std::string& choice : Choices(option)) {
    if (absl::StartsWith(choice, completion.begin)) completion.candidates.push_back({choice, ""});
  }
  if (completion.candidates.empty()) completion.place = {KindOf(line, option), line.uplink};
}

void CompleteOption(const Line& line, Completion& completion) {
  std::set<std::string> seen;  // --help is an option of every verb and of the program
  for (auto app = line.path.rbegin(); app != line.path.rend(); ++app) {
    for (const CLI::Option* option : OptionsOf(**app, /*positional=*/false)) {
      for (const std::string& spelling : Spellings(*option)) {
        if (absl::StartsWith(spelling, completion.begin) && absl::StartsWith(spelling, "--") &&
            seen.insert(spelling).second) {
          completion.candidates.push_back({spelling, option->get_description()});
        }
      }
    }
  }
}

}  // namespace

std::vector<const CLI::App*> Verbs(const CLI::App& app) {
  return app.get_subcommands(
      [](const CLI::App* verb) { return !verb->get_name().empty() && !verb->get_group().empty(); });
}

std::vector<const CLI::Option*> OptionsOf(const CLI::App& app, bool positional) {
  std::vector<const CLI::Option*> options;
  for (const CLI::Option* option : app.get_options()) {
    // An option without a group is hidden.
    if (!option->get_group().empty() && option->get_positional() == positional) {
      options.push_back(option);
    }
  }
  for (const CLI::App* group :
       app.get_subcommands([](const CLI::App* sub) { return sub->get_name().empty(); })) {
    for (const CLI::Option* option : OptionsOf(*group, positional)) {
      if (std::find(options.begin(), options.end(), option) == options.end()) {
        options.push_back(option);
      }
    }
  }
  return options;
}

std::vector<std::string> Spellings(const CLI::Option& option) {
  std::vector<std::string> spellings;
  for (const std::string& name : option.get_snames()) spellings.push_back(absl::StrCat("-", name));
  for (const std::string& name : option.get_lnames()) spellings.push_back(absl::StrCat("--", name));
  return spellings;
}

Completion Complete(const CLI::App& app, const std::vector<std::string>& words) {
  Line line{.path = {&app}};
  for (size_t i = 0; i + 1 < words.size(); ++i) Read(words[i], line);
  Completion completion{.begin = words.empty() ? "" : words.back()};
  const std::string& last = completion.begin;
  if (line.lost) return completion;
  if (line.open != nullptr) {
    CompleteValue(line, *line.open, completion);
  } else if (!line.only_positionals && absl::StartsWith(last, "-")) {
    const size_t equals = last.find('=');
    const CLI::Option* option = FindOption(line, last.substr(0, equals));
    if (equals == std::string::npos) {
      CompleteOption(line, completion);
    } else if (option != nullptr && TakesValue(*option)) {
      completion.begin = last.substr(equals + 1);
      CompleteValue(line, *option, completion);
    }
  } else {
    for (const CLI::App* verb : Verbs(*line.path.back())) {
      if (absl::StartsWith(verb->get_name(), last)) {
        completion.candidates.push_back({verb->get_name(), verb->get_description()});
      }
    }
    const CLI::Option* positional = PositionalAt(*line.path.back(), line.positionals);
    if (positional != nullptr) CompleteValue(line, *positional, completion);
  }
  return completion;
}

}  // namespace vmqd::cli
