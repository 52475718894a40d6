// The part of vmqd-cli(1) that lists commands and options. See completion.h.
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "client/completion.h"

namespace vmqd::cli {
namespace {

// Text that scdoc leaves as it is.
std::string Plain(const std::string& text) {
  return absl::StrReplaceAll(
      text, {{"\\", "\\\\"}, {"_", "\\_"}, {"*", "\\*"}, {"~", "\\~"}, {"\n", " "}});
}

std::string Bold(const std::string& text) { return absl::StrCat("*", Plain(text), "*"); }

// "TEXT:{table,json}" -> "table|json", "UINT:..." -> "UINT"; "" for a flag.
std::string ValueOf(const CLI::Option& option) {
  if (option.get_items_expected_max() == 0) return "";
  const std::string type = option.get_type_name();
  const size_t begin = type.find('{'), end = type.find('}');
  if (begin == std::string::npos || end == std::string::npos || type.find("->") < end) {
    // "[KEPT,]PEER" and the like stay; a check behind a colon does not.
    return Plain(type.substr(0, type.find(':')));
  }
  return Plain(absl::StrReplaceAll(type.substr(begin + 1, end - begin - 1), {{",", "|"}}));
}

std::string OptionLines(const CLI::App& app) {
  std::string text;
  for (const bool positional : {true, false}) {
    for (const CLI::Option* option : OptionsOf(app, positional)) {
      std::vector<std::string> spellings = Spellings(*option);
      if (positional) spellings = {option->get_name(true)};
      // --help is said once, for all of them.
      if (spellings.back() == "--help" && app.get_parent() != nullptr) continue;
      for (std::string& spelling : spellings) spelling = Bold(spelling);
      absl::StrAppend(&text, absl::StrJoin(spellings, ", "));
      if (const std::string value = ValueOf(*option); !positional && !value.empty()) {
        absl::StrAppend(&text, " ", value);
      }
      absl::StrAppend(&text, "\n\t", Plain(option->get_description()));
      if (!option->get_default_str().empty()) {
        absl::StrAppend(&text, "; default: ", Plain(option->get_default_str()));
      }
      if (!option->get_envname().empty()) {
        absl::StrAppend(&text, "; environment: ", Plain(option->get_envname()));
      }
      absl::StrAppend(&text, "\n\n");
    }
  }
  return text;
}

std::string Arguments(const CLI::App& verb) {
  std::string text;
  for (const CLI::Option* option : OptionsOf(verb, /*positional=*/true)) {
    const std::string name = option->get_name(true);
    const std::string dots = option->get_items_expected_max() > 1 ? "..." : "";
    absl::StrAppend(&text, option->get_required() ? absl::StrCat(" ", name, dots)
                                                  : absl::StrCat(" [", name, dots, "]"));
  }
  return text;
}

// The footer's "Example:" lines, up to the empty one.
std::string Example(const CLI::App& verb) {
  const std::string footer = verb.get_footer();
  if (!absl::StartsWith(footer, "Example:\n")) return "";
  const size_t begin = footer.find('\n');
  const std::string lines = footer.substr(begin, footer.find("\n\n") - begin);
  return absl::StrCat("```", absl::StrReplaceAll(lines, {{"\n  ", "\n"}}), "\n```\n\n");
}

void AppendVerbs(const CLI::App& app, const std::string& path, std::string& text) {
  for (const CLI::App* verb : Verbs(app)) {
    const std::string name = path.empty() ? verb->get_name() : path + " " + verb->get_name();
    if (!Verbs(*verb).empty()) {
      absl::StrAppend(&text, "## ", name, "\n\n", Plain(verb->get_description()), ".\n\n");
      AppendVerbs(*verb, name, text);
      continue;
    }
    absl::StrAppend(&text, Bold(absl::StrCat(name, Arguments(*verb))), "\n\n",
                    Plain(verb->get_description()), ".\n\n", OptionLines(*verb));
    absl::StrAppend(&text, Example(*verb));
  }
}

}  // namespace

std::string ManPageOf(const CLI::App& app) {
  std::string text =
      absl::StrCat("# OPTIONS OF EVERY COMMAND\n\n", OptionLines(app), "# COMMANDS\n\n");
  AppendVerbs(app, "", text);
  return text;
}

}  // namespace vmqd::cli
