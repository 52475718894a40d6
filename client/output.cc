// See output.h.
#include "client/output.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "google/protobuf/util/json_util.h"
#include "google/protobuf/util/time_util.h"
#include "google/protobuf/wrappers.pb.h"
#include "proto/yaml/yaml.h"

namespace vmqd::cli {
namespace {

bool BoldHeads() { return isatty(STDOUT_FILENO) == 1 && std::getenv("NO_COLOR") == nullptr; }

std::string WithoutTrailingBlanks(std::string line) {
  line.erase(line.find_last_not_of(' ') + 1);
  return line;
}

std::string Padded(const std::string& text, size_t width, Table::Align align) {
  const std::string blanks(width - std::min(width, text.size()), ' ');
  return align == Table::Align::kRight ? blanks + text : text + blanks;
}

std::string JsonOf(const google::protobuf::Message& message, bool many_lines) {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = many_lines;
  options.always_print_primitive_fields = true;
  std::string json;
  const auto status = google::protobuf::util::MessageToJsonString(message, &json, options);
  if (!status.ok()) throw std::runtime_error(status.ToString());
  return json;
}

std::string LocalTime(const char* format, const google::protobuf::Timestamp& time) {
  const absl::Time at = absl::FromUnixSeconds(time.seconds()) + absl::Nanoseconds(time.nanos());
  return absl::FormatTime(format, at, absl::LocalTimeZone());
}

}  // namespace

void Table::AddRow(std::vector<std::string> cells) {
  std::vector<std::vector<std::string>>& row = rows_.emplace_back();
  for (const std::string& cell : cells) row.push_back(absl::StrSplit(cell, '\n'));
}

std::vector<std::string> Table::Lines() const {
  std::vector<size_t> widths;
  for (const Column& column : columns_) widths.push_back(column.head.size());
  for (const auto& row : rows_) {
    for (size_t c = 0; c < row.size(); ++c) {
      for (const std::string& line : row[c]) widths[c] = std::max(widths[c], line.size());
    }
  }
  const auto compose = [&](const auto& cell_at) {
    std::string line;
    for (size_t c = 0; c < columns_.size(); ++c) {
      absl::StrAppend(&line, c == 0 ? "" : "  ", Padded(cell_at(c), widths[c], columns_[c].align));
    }
    return WithoutTrailingBlanks(std::move(line));
  };
  std::vector<std::string> lines = {compose([&](size_t c) { return columns_[c].head; })};
  for (const auto& row : rows_) {
    size_t height = 0;
    for (const auto& cell : row) height = std::max(height, cell.size());
    for (size_t i = 0; i < height; ++i) {
      lines.push_back(
          compose([&](size_t c) { return i < row[c].size() ? row[c][i] : std::string(); }));
    }
  }
  return lines;
}

void Table::Print() const {
  const std::vector<std::string> lines = Lines();
  const std::string& heads = lines.front();
  if (!heads.empty()) std::cout << (BoldHeads() ? "\033[1m" + heads + "\033[0m" : heads) << "\n";
  for (size_t i = 1; i < lines.size(); ++i) std::cout << lines[i] << "\n";
}

void PrintDetails(const std::vector<std::pair<std::string, std::string>>& rows) {
  Table table({{""}, {""}});
  for (const auto& [label, value] : rows) {
    if (!value.empty()) table.AddRow({label, value});
  }
  table.Print();
}

std::string ToJson(const google::protobuf::Message& message) { return JsonOf(message, true); }

std::string ToJsonLine(const google::protobuf::Message& message) { return JsonOf(message, false); }

void PrintAs(const std::string& output, const std::string& json,
             const std::function<void()>& table) {
  if (output == "json") {
    std::cout << json << (json.ends_with("\n") ? "" : "\n");
  } else if (output == "yaml") {
    std::cout << JsonToYaml(json);
  } else {
    table();
  }
}

void PrintAs(const std::string& output, const google::protobuf::Message& message,
             const std::function<void()>& table) {
  PrintAs(output, output == "table" ? "" : ToJson(message), table);
}

std::string Rate(double per_second) {
  static constexpr const char* kUnits[] = {"", "k", "M", "G", "T"};
  size_t unit = 0;
  // 999.5 rounds to 1000, which is written 1.00k.
  while (per_second >= 999.5 && unit + 1 < std::size(kUnits)) {
    per_second /= 1000;
    ++unit;
  }
  if (unit == 0 && (per_second == 0 || per_second >= 9.95)) {
    return absl::StrFormat("%.0f", per_second);
  }
  if (unit == 0) return absl::StrFormat("%.1f", per_second);
  const int decimals = per_second < 9.995 ? 2 : per_second < 99.95 ? 1 : 0;
  return absl::StrFormat("%.*f%s", decimals, per_second, kUnits[unit]);
}

std::string Bar(double percent, double other, int cells) {
  const auto whole = [&](double part) {
    return std::clamp(static_cast<int>(part / 100 * cells + 0.5), 0, cells);
  };
  const int first = whole(percent), both = std::max(first, whole(percent + other));
  return absl::StrCat("[", std::string(first, '#'), std::string(both - first, '='),
                      std::string(cells - both, ' '), "]");
}

std::string EnumText(const std::string& name) {
  if (name.empty() || absl::EndsWith(name, "_UNSPECIFIED")) return "-";
  return absl::AsciiStrToLower(name);
}

std::string Effective(const std::string& requested, const std::string& effective,
                      const std::string& reason) {
  std::string text = effective;
  if (requested != effective) absl::StrAppend(&text, ", asked for ", requested);
  if (!reason.empty()) absl::StrAppend(&text, ": ", reason);
  return text;
}

std::string YesNo(bool value) { return value ? "yes" : "no"; }

std::string BytesText(uint64_t bytes) {
  static constexpr const char* kUnits[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
  size_t unit = 0;
  while (bytes != 0 && bytes % 1024 == 0 && unit + 1 < std::size(kUnits)) {
    bytes /= 1024;
    ++unit;
  }
  return absl::StrCat(bytes, " ", kUnits[unit]);
}

std::string TimeText(const google::protobuf::Timestamp& time) {
  return LocalTime("%Y-%m-%d %H:%M:%E3S", time);
}

std::string ClockText(const google::protobuf::Timestamp& time) {
  return LocalTime("%H:%M:%S", time);
}

google::protobuf::Timestamp Now() {
  return google::protobuf::util::TimeUtil::NanosecondsToTimestamp(absl::GetCurrentTimeNanos());
}

std::string JsonText(const std::string& text) {
  google::protobuf::StringValue value;
  value.set_value(text);
  std::string json;
  const auto status = google::protobuf::util::MessageToJsonString(value, &json);
  if (!status.ok()) throw std::runtime_error(status.ToString());
  return json;
}

}  // namespace vmqd::cli
