// Printing a diagnosis; the contract is in the header.
#include "daemon/doctor/print.h"

#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <iostream>

#include "absl/strings/str_format.h"
#include "daemon/rpc/convert.h"
#include "vmqd/v1/vmqd.pb.h"

namespace vmqd {
namespace {

const char* LevelText(FindingLevel level) {
  switch (level) {
    case FindingLevel::kOk:
      return "ok";
    case FindingLevel::kNote:
      return "note";
    case FindingLevel::kProblem:
      return "PROBLEM";
  }
  return "";
}

void PrintJson(const std::vector<Finding>& findings) {
  v1::DiagnoseResponse response;
  for (const Finding& finding : findings) {
    rpc::ToProto(finding, response.add_findings());
  }
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = true;
  std::string json;
  if (!google::protobuf::util::MessageToJsonString(response, &json, options).ok()) return;
  std::cout << json;
}

void PrintTable(const std::vector<Finding>& findings) {
  size_t width = 0;
  for (const Finding& finding : findings) width = std::max(width, finding.name.size());
  std::string subject;
  for (const Finding& finding : findings) {
    if (finding.subject != subject) {
      std::cout << (subject.empty() ? "" : "\n") << finding.subject << "\n";
      subject = finding.subject;
    }
    std::cout << absl::StrFormat("  %-7s  %-*s  %s\n", LevelText(finding.level),
                                 static_cast<int>(width), finding.name, finding.seen);
    if (!finding.advice.empty()) {
      std::cout << std::string(width + 13, ' ') << "-> " << finding.advice << "\n";
    }
  }
}

}  // namespace

int PrintDoctor(const std::string& device, const DoctorOptions& options,
                const std::string& output) {
  const auto findings = Diagnose(device, options);
  if (!findings.ok()) {
    std::cerr << "vmqd: " << std::string(findings.status().message()) << "\n";
    return 1;
  }
  output == "json" ? PrintJson(*findings) : PrintTable(*findings);
  std::cout.flush();
  const bool problem = std::any_of(findings->begin(), findings->end(), [](const Finding& finding) {
    return finding.level == FindingLevel::kProblem;
  });
  return problem || !std::cout ? 1 : 0;
}

}  // namespace vmqd
