// What `vmqd-cli top` shows, as lines of text: CPUs, queues, ports, moves. Pure functions.
#ifndef VMQD_CLIENT_TOP_TEXT_H_
#define VMQD_CLIENT_TOP_TEXT_H_

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "client/look.h"

namespace vmqd::cli {

struct TerminalSize {
  int columns = 80;
  int rows = 24;
};

struct ShownLine {
  std::string text;
  bool head = false;  // of a table
};

// Without a size everything, made for 80 columns. With one what fits: of each table the busiest,
// and the latest of the moves. `drop_rates` as DropRates returns them.
std::vector<ShownLine> TopLines(const Sight& look, const std::map<std::string, double>& drop_rates,
                                const std::optional<TerminalSize>& size);

}  // namespace vmqd::cli

#endif  // VMQD_CLIENT_TOP_TEXT_H_
