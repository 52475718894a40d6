// See top_text.h.
#include "client/top_text.h"

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "client/name.h"
#include "client/output.h"

namespace vmqd::cli {
namespace {

constexpr auto kRight = Table::Align::kRight;
constexpr int kPlainColumns = 80;
constexpr int kMovesShown = 8;
// Heads, empty lines between the tables, and the line above them.
constexpr int kFixedRows = 8;

using Loads = google::protobuf::RepeatedPtrField<v1::Load>;

double BusyLastSecond(const Loads& loads) {
  for (const v1::Load& load : loads) {
    if (load.seconds() == 1) return load.busy_percent();
  }
  return 0;
}

double LoadOf(const v1::Cpu& cpu) { return BusyLastSecond(cpu.loads()) + cpu.other_percent(); }
double LoadOf(const v1::Queue& queue) { return queue.busy_percent(); }
double LoadOf(const v1::Port& port) { return port.rates().in_pps() + port.rates().out_pps(); }

// The first `rows` of all: by load with `by_load`, or when not all of them fit.
template <typename Resource>
std::vector<const Resource*> Shown(const google::protobuf::RepeatedPtrField<Resource>& all,
                                   size_t rows, bool by_load = false) {
  std::vector<const Resource*> shown;
  for (const Resource& resource : all) shown.push_back(&resource);
  if (by_load || shown.size() > rows) {
    std::stable_sort(shown.begin(), shown.end(), [](const Resource* one, const Resource* other) {
      return LoadOf(*one) > LoadOf(*other);
    });
  }
  shown.resize(std::min(shown.size(), rows));
  return shown;
}

// "PORT", or "PORT 9/1000".
std::string Head(const char* name, size_t shown, int all) {
  if (shown == static_cast<size_t>(all)) return name;
  return absl::StrCat(name, " ", shown, "/", all);
}

std::string Cut(const std::string& text, int columns) {
  if (static_cast<int>(text.size()) <= columns) return text;
  return absl::StrCat(text.substr(0, std::max(columns - 1, 0)), "~");
}

// "vm1 vm2 +7": as many as fit, and how many more there are.
std::string Names(const std::vector<std::string>& names, int columns) {
  std::string text;
  for (size_t i = 0; i < names.size(); ++i) {
    const size_t left = names.size() - i - 1;
    const std::string longer = absl::StrCat(text, i == 0 ? "" : " ", names[i]);
    const std::string rest = left == 0 ? "" : absl::StrCat(" +", left);
    if (i > 0 && static_cast<int>(longer.size() + rest.size()) > columns) {
      return absl::StrCat(text, " +", left + 1);
    }
    text = longer;
  }
  return text;
}

// Lines of at most `columns`; all but the first begin with `indent` blanks.
std::vector<std::string> Wrapped(const std::string& text, int columns, int indent) {
  std::vector<std::string> lines;
  std::string line;
  for (const std::string& word : std::vector<std::string>(absl::StrSplit(text, ' '))) {
    if (static_cast<int>(line.size() + 1 + word.size()) > columns && !line.empty()) {
      lines.push_back(std::move(line));
      line = absl::StrCat(std::string(indent, ' '), word);
    } else {
      absl::StrAppend(&line, line.empty() ? "" : " ", word);
    }
  }
  lines.push_back(std::move(line));
  return lines;
}

std::string TitleOf(const Sight& look, const std::map<std::string, double>& drop_rates) {
  double in = 0, out = 0;
  for (const v1::Queue& queue : look.queues.queues()) {
    in += queue.rates().in_pps();
    out += queue.rates().out_pps();
  }
  for (const v1::Port& port : look.ports.ports()) {
    in += port.rates().in_pps();
    out += port.rates().out_pps();
  }
  const auto dropped = drop_rates.find("");
  return absl::StrCat("vmqd ", look.sw.version(), "  ", ClockText(look.time), "  ports ",
                      look.sw.port_count(), "  frames/s: in ", Rate(in), ", out ", Rate(out),
                      ", dropped ", dropped == drop_rates.end() ? "-" : Rate(dropped->second));
}

std::vector<std::string> CpuLines(const Sight& look, int columns, size_t rows) {
  const auto cpus = Shown(look.sw.cpus(), rows);
  const std::string head = Head("CPU", cpus.size(), look.sw.cpus_size());
  const int cells = columns / 3, others = cells + 30 + static_cast<int>(head.size());
  Table table({{head, kRight},
               {"NUMA", kRight},
               {"LOAD: # WORKERS, = OTHER"},
               {"WORKERS%", kRight},
               {"OTHER%", kRight},
               {"QUEUES"}});
  for (const v1::Cpu* cpu : cpus) {
    std::vector<std::string> queues;
    for (const std::string& queue : cpu->queues()) queues.push_back(ShortQueueName(queue));
    const double busy = BusyLastSecond(cpu->loads());
    table.AddRow({absl::StrCat(cpu->cpu()),
                  cpu->numa_node() < 0 ? "-" : absl::StrCat(cpu->numa_node()),
                  Bar(busy, cpu->other_percent(), cells), absl::StrFormat("%.1f", busy),
                  absl::StrFormat("%.1f", cpu->other_percent()), Names(queues, columns - others)});
  }
  return table.Lines();
}

std::vector<std::string> QueueLines(const Sight& look, int columns, size_t rows) {
  const auto queues = Shown(look.queues.queues(), rows);
  const int cells = columns / 6;
  const std::string head = Head("QUEUE", queues.size(), look.queues.queues_size());
  int widest = static_cast<int>(head.size());
  for (const v1::Queue* queue : queues) {
    widest = std::max(widest, static_cast<int>(ShortQueueName(queue->name()).size()));
  }
  Table table({{head},
               {"CPU", kRight},
               {"BUSY"},
               {"BUSY%", kRight},
               {"IN-PPS", kRight},
               {"OUT-PPS", kRight},
               {"PORTS"}});
  for (const v1::Queue* queue : queues) {
    std::vector<std::string> ports;  // one name for all the addresses of a port
    for (const v1::QueueFilter& filter : queue->filters()) {
      const std::string port = ShortName(filter.port());
      if (std::find(ports.begin(), ports.end(), port) == ports.end()) ports.push_back(port);
    }
    table.AddRow({ShortQueueName(queue->name()), absl::StrCat(queue->cpu()),
                  Bar(queue->busy_percent(), 0, cells),
                  absl::StrFormat("%.1f", queue->busy_percent()), Rate(queue->rates().in_pps()),
                  Rate(queue->rates().out_pps()), Names(ports, columns - widest - cells - 35)});
  }
  return table.Lines();
}

std::vector<std::string> PortLines(const Sight& look,
                                   const std::map<std::string, double>& drop_rates, int columns,
                                   size_t rows, bool cut_names) {
  const auto ports = Shown(look.ports.ports(), rows, /*by_load=*/true);
  const auto queue_of = [](const v1::Port& port) {
    return absl::StrCat(ShortName(port.uplink()), "/", port.effective_queue());
  };
  int widest = 5;
  for (const v1::Port* port : ports) {
    widest = std::max(widest, static_cast<int>(queue_of(*port).size()));
  }
  const int name_columns =
      cut_names ? std::max(columns - widest - 50, 8) : std::numeric_limits<int>::max();
  Table table({{Head("PORT", ports.size(), look.ports.ports_size())},
               {"QUEUE"},
               {"CPU", kRight},
               {"IN-PPS", kRight},
               {"OUT-PPS", kRight},
               {"IN-BPS", kRight},
               {"OUT-BPS", kRight},
               {"DROPS/S", kRight}});
  for (const v1::Port* port : ports) {
    const auto dropped = drop_rates.find(port->name());
    table.AddRow(
        {Cut(ShortName(port->name()), name_columns), queue_of(*port), absl::StrCat(port->cpu()),
         Rate(port->rates().in_pps()), Rate(port->rates().out_pps()), Rate(port->rates().in_bps()),
         Rate(port->rates().out_bps()), dropped == drop_rates.end() ? "-" : Rate(dropped->second)});
  }
  return table.Lines();
}

// The latest first.
std::vector<std::string> MoveLines(const Sight& look, int columns) {
  std::vector<std::string> lines;
  const auto& moves = look.moves.events();
  for (auto move = moves.rbegin(); move != moves.rend(); ++move) {
    const std::string text = absl::StrCat(ClockText(move->time()), " ", move->reason(), " ",
                                          ShortQueueName(move->resource()), ": ", move->message());
    for (std::string& line : Wrapped(text, columns, 9)) lines.push_back(std::move(line));
  }
  return lines;
}

// Deals `rows` to tables that want some: none gets more than it wants while another gets less.
std::array<size_t, 4> Deal(std::array<size_t, 4> wanted, size_t rows) {
  std::array<size_t, 4> dealt{};
  for (bool any = true; any && rows > 0;) {
    any = false;
    for (size_t i = 0; i < wanted.size() && rows > 0; ++i) {
      if (dealt[i] == wanted[i]) continue;
      ++dealt[i];
      --rows;
      any = true;
    }
  }
  return dealt;
}

}  // namespace

std::vector<ShownLine> TopLines(const Sight& look, const std::map<std::string, double>& drop_rates,
                                const std::optional<TerminalSize>& size) {
  const int columns = size ? size->columns : kPlainColumns;
  std::vector<std::string> moves = MoveLines(look, columns);
  std::array<size_t, 4> rows = {
      static_cast<size_t>(look.sw.cpus_size()), static_cast<size_t>(look.queues.queues_size()),
      static_cast<size_t>(look.ports.ports_size()), std::min<size_t>(moves.size(), kMovesShown)};
  if (size) {
    rows = Deal(rows, std::max(size->rows - kFixedRows, 4));
    moves.resize(rows[3]);
  }
  moves.insert(moves.begin(), moves.empty() ? "NO MOVE YET" : "LATEST MOVES");
  std::vector<ShownLine> lines = {{TitleOf(look, drop_rates)}};
  for (const std::vector<std::string>& table :
       {CpuLines(look, columns, rows[0]), QueueLines(look, columns, rows[1]),
        PortLines(look, drop_rates, columns, rows[2], size.has_value()), moves}) {
    if (lines.size() > 1) lines.push_back({""});
    for (size_t i = 0; i < table.size(); ++i) lines.push_back({table[i], i == 0});
  }
  if (!size) return lines;
  lines.resize(std::min(lines.size(), static_cast<size_t>(size->rows)));
  for (ShownLine& line : lines) line.text = Cut(line.text, columns);
  return lines;
}

}  // namespace vmqd::cli
