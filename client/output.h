// Everything vmqd-cli prints on stdout: tables for people, the API's own protobuf JSON, and that
// JSON as YAML. No colours; bold column heads on a terminal only.
#ifndef VMQD_CLIENT_OUTPUT_H_
#define VMQD_CLIENT_OUTPUT_H_

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "google/protobuf/message.h"
#include "google/protobuf/timestamp.pb.h"

namespace vmqd::cli {

// Aligned columns, two blanks apart; numbers to the right. A cell with line breaks continues below.
class Table {
 public:
  enum class Align { kLeft, kRight };
  struct Column {
    std::string head;
    Align align = Align::kLeft;
  };

  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}
  void AddRow(std::vector<std::string> cells);  // one cell a column
  std::vector<std::string> Lines() const;       // the heads first
  void Print() const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::vector<std::string>>> rows_;  // row, column, line
};

// One resource: labels on the left, values on the right. Rows with an empty value are left out.
void PrintDetails(const std::vector<std::pair<std::string, std::string>>& rows);

// Protobuf JSON: lowerCamelCase names, zero values included, enums by name, 64-bit as strings.
std::string ToJson(const google::protobuf::Message& message);
// The same on one line.
std::string ToJsonLine(const google::protobuf::Message& message);

// Prints `json` as it is for "json", as YAML for "yaml", and calls `table` otherwise.
void PrintAs(const std::string& output, const std::string& json,
             const std::function<void()>& table);
void PrintAs(const std::string& output, const google::protobuf::Message& message,
             const std::function<void()>& table);

// 0, 7.5, 950, 1.23k, 45.6M, 7.89G
std::string Rate(double per_second);
// "[####==      ]": `percent` and, behind it, `other` of what `cells` stand for; cut at the end.
std::string Bar(double percent, double other, int cells);
// "ADAPTIVE" -> "adaptive"; "-" for an unspecified value.
std::string EnumText(const std::string& name);
// "native", or "generic, asked for auto: the driver has no XDP" where they differ.
std::string Effective(const std::string& requested, const std::string& effective,
                      const std::string& reason);
std::string YesNo(bool value);
// "512 MiB", "1025 bytes": in the largest unit that leaves no rest.
std::string BytesText(uint64_t bytes);
// Local, to the millisecond.
std::string TimeText(const google::protobuf::Timestamp& time);
// Local, to the second, without the date.
std::string ClockText(const google::protobuf::Timestamp& time);
google::protobuf::Timestamp Now();
// A string of JSON, quotes included.
std::string JsonText(const std::string& text);

}  // namespace vmqd::cli

#endif  // VMQD_CLIENT_OUTPUT_H_
