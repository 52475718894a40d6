// vmqd-cli completion bash|zsh: the scripts that a shell sources; they ask "completion words" what
// fits. Not shown in --help: packages install the scripts. See completion.h.
#include "client/completion.h"

#include <net/if.h>

#include <algorithm>
#include <iostream>
#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"

namespace vmqd::cli {
namespace {

using Stub = Connection::Stub;

// Seconds that a completion waits for the daemon. Somebody is typing.
constexpr double kPatience = 0.5;

// The line is split at blanks alone: bash would split at "=" and ":" too. Where "=" splits, bash
// replaces what follows it; elsewhere the whole word.
constexpr char kBash[] =
    R"(# bash completion for vmqd-cli. The program says what fits: it knows its commands and the daemon.
_vmqd_cli() {
    local line=${COMP_LINE:0:COMP_POINT} words answer candidate before=
    COMPREPLY=()
    read -ra words <<<"$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    mapfile -t answer < <("$1" completion words -- "${words[@]:1}" 2>/dev/null)
    local current=${words[-1]}
    if [[ $current == --*=* ]]; then
        [[ $COMP_WORDBREAKS == *=* ]] || before=${current%%=*}=
        current=${current#*=}
    fi
    if [[ ${answer[0]-} == :files ]]; then
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
        return
    fi
    for candidate in "${answer[@]}"; do
        COMPREPLY+=("$before${candidate%%$'\t'*}")
    done
}
complete -F _vmqd_cli vmqd-cli
)";

constexpr char kZsh[] = R"(#compdef vmqd-cli
# zsh completion for vmqd-cli. The program says what fits: it knows its commands and the daemon.
_vmqd-cli() {
    local -a before answer described
    local current=$PREFIX candidate
    before=("${(@Q)words[2,CURRENT-1]}")
    answer=("${(@f)$(${(Q)words[1]} completion words -- $before "$current" 2>/dev/null)}")
    [[ $current == --*=* ]] && compset -P '*='
    if [[ $answer[1] == :files ]]; then
        _files
        return
    fi
    for candidate in $answer; do
        if [[ $candidate == *$'\t'* ]]; then
            described+=("${${candidate%%$'\t'*}//:/\\:}:${candidate#*$'\t'}")
        else
            described+=("${candidate//:/\\:}")
        fi
    done
    _describe vmqd-cli described
}
if [[ $funcstack[1] == _vmqd-cli ]]; then
    _vmqd-cli "$@"
else
    compdef _vmqd-cli vmqd-cli
fi
)";

std::vector<Candidate> Devices() {
  std::vector<Candidate> devices;
  struct if_nameindex* const all = if_nameindex();
  for (auto* device = all; device != nullptr && device->if_index != 0; ++device) {
    devices.push_back({device->if_name, ""});
  }
  if (all != nullptr) if_freenameindex(all);
  return devices;
}

std::vector<Candidate> Uplinks(Connection& connection) {
  v1::ListUplinksResponse all;
  std::vector<Candidate> names;
  if (!connection.CallForAll(&Stub::ListUplinks, v1::ListUplinksRequest(), &all).ok()) return {};
  for (const v1::Uplink& uplink : all.uplinks()) {
    names.push_back({ShortName(uplink.name()), "uplink"});
  }
  return names;
}

std::vector<Candidate> Ports(Connection& connection) {
  v1::ListPortsResponse all;
  std::vector<Candidate> names;
  if (!connection.CallForAll(&Stub::ListPorts, v1::ListPortsRequest(), &all).ok()) return {};
  for (const v1::Port& port : all.ports()) {
    names.push_back({ShortName(port.name()), port.macs_size() > 0 ? port.macs(0) : "port"});
  }
  return names;
}

std::vector<Candidate> Queues(Connection& connection, const std::string& uplink) {
  v1::ListQueuesRequest request;
  request.set_parent(FullName("uplinks/", uplink.empty() ? "-" : uplink));
  v1::ListQueuesResponse all;
  std::vector<Candidate> numbers;
  if (!connection.CallForAll(&Stub::ListQueues, request, &all).ok()) return {};
  for (const v1::Queue& queue : all.queues()) {
    const Candidate number{absl::StrCat(queue.queue()), absl::StrCat("CPU ", queue.cpu())};
    const bool known = std::any_of(numbers.begin(), numbers.end(), [&](const Candidate& other) {
      return other.word == number.word;
    });
    if (!known) numbers.push_back(number);
  }
  return numbers;
}

// The names there are, by the daemon's account or the kernel's. No daemon: none.
std::vector<Candidate> Names(const Place& place, Connection& connection) {
  switch (place.kind) {
    case ValueKind::kAnything:
    case ValueKind::kFile:
      return {};
    case ValueKind::kDevice:
      return Devices();
    case ValueKind::kUplink:
      return Uplinks(connection);
    case ValueKind::kPort:
      return Ports(connection);
    case ValueKind::kQueue:
      return Queues(connection, place.uplink);
    case ValueKind::kUplinkOrPort:
      break;
  }
  std::vector<Candidate> both = Uplinks(connection);
  for (Candidate& port : Ports(connection)) both.push_back(std::move(port));
  return both;
}

// The daemon that the line on the screen is about.
ConnectionOptions Asked(ConnectionOptions options, const std::vector<std::string>& words) {
  for (size_t i = 0; i < words.size(); ++i) {
    constexpr char kLong[] = "--address=";
    if (absl::StartsWith(words[i], kLong)) options.address = words[i].substr(sizeof(kLong) - 1);
    if ((words[i] == "--address" || words[i] == "-a") && i + 1 < words.size()) {
      options.address = words[i + 1];
    }
  }
  options.timeout_seconds = std::min(options.timeout_seconds, kPatience);
  return options;
}

void Print(const Candidate& candidate) {
  std::cout << candidate.word;
  if (!candidate.description.empty()) {
    std::cout << '\t' << absl::StrReplaceAll(candidate.description, {{"\n", " "}});
  }
  std::cout << '\n';
}

// "word<TAB>description" lines; or ":files", for which shells have their own way.
int PrintWords(const CLI::App& app, const ConnectionOptions& options,
               const std::vector<std::string>& words) {
  const Completion completion = Complete(app, words);
  for (const Candidate& candidate : completion.candidates) Print(candidate);
  if (completion.place.kind == ValueKind::kFile) std::cout << ":files\n";
  Connection connection(Asked(options, words));
  for (const Candidate& name : Names(completion.place, connection)) {
    if (absl::StartsWith(name.word, completion.begin)) Print(name);
  }
  return kDone;
}

}  // namespace

void AddCompletionCommands(CLI::App& app, Session& session) {
  CLI::App& resource = AddResource(app, "completion", "Scripts that complete what is typed");
  resource.group("");  // for shells and the build: hidden
  const auto add = [&](const char* name, const char* description, std::function<void()> print) {
    AddVerb(resource, session, name, description, absl::StrCat("vmqd-cli completion ", name),
            [print = std::move(print)](Connection&) {
              print();
              return kDone;
            });
  };
  add("bash", "For bash", [] { std::cout << kBash; });
  add("zsh", "For zsh", [] { std::cout << kZsh; });
  add("man", "What vmqd-cli(1) lists", [&app] { std::cout << ManPageOf(app); });
  auto words = std::make_shared<std::vector<std::string>>();
  AddVerb(resource, session, "words", "What fits at the end of a line",
          "vmqd-cli completion words -- port show v",
          [&app, words](Connection& connection) {
            return PrintWords(app, connection.options(), *words);
          })
      .add_option("WORDS", *words, "The line, without the program's name");
}

}  // namespace vmqd::cli
