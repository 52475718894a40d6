// Screen: a terminal taken over for a view that refreshes itself, and given back as it was. Used
// from main's thread only; one in a program.
#ifndef VMQD_CLIENT_SCREEN_H_
#define VMQD_CLIENT_SCREEN_H_

#include <memory>
#include <vector>

#include "client/top_text.h"

struct screen;  // of ncurses

namespace vmqd::cli {

class Screen {
 public:
  // nullptr unless standard input and output are a terminal of a known type.
  static std::unique_ptr<Screen> Open();
  ~Screen();
  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;

  TerminalSize size() const;
  void Show(const std::vector<ShownLine>& lines);
  // Of the keys that were pressed, without waiting for one.
  bool QuitPressed();

 private:
  explicit Screen(struct screen* terminal) : terminal_(terminal) {}
  struct screen* const terminal_;
};

}  // namespace vmqd::cli

#endif  // VMQD_CLIENT_SCREEN_H_
