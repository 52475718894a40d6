// See screen.h. ncurses knows the terminal, its size and what has changed on it.
#include "client/screen.h"

#include <ncurses.h>
#include <unistd.h>

#include <clocale>
#include <cstdio>

namespace vmqd::cli {

std::unique_ptr<Screen> Screen::Open() {
  if (isatty(STDIN_FILENO) == 0 || isatty(STDOUT_FILENO) == 0) return nullptr;
  std::setlocale(LC_CTYPE, "");
  SCREEN* terminal = newterm(nullptr, stdout, stdin);
  if (terminal == nullptr) return nullptr;
  cbreak();
  noecho();
  curs_set(0);
  keypad(stdscr, TRUE);
  nodelay(stdscr, TRUE);
  return std::unique_ptr<Screen>(new Screen(terminal));
}

Screen::~Screen() {
  endwin();
  delscreen(terminal_);
}

TerminalSize Screen::size() const { return {.columns = COLS, .rows = LINES}; }

void Screen::Show(const std::vector<ShownLine>& lines) {
  erase();
  for (size_t i = 0; i < lines.size(); ++i) {
    attrset(lines[i].head ? A_BOLD : A_NORMAL);
    mvaddstr(static_cast<int>(i), 0, lines[i].text.c_str());
  }
  refresh();
}

bool Screen::QuitPressed() {
  for (int key; (key = getch()) != ERR;) {  // a new size of the terminal comes as a key, too
    if (key == 'q' || key == 'Q') return true;
  }
  return false;
}

}  // namespace vmqd::cli
