// SPDX-License-Identifier: Apache-2.0
#include <csignal>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "output.hpp"

namespace cli {

namespace {

termios before;
volatile sig_atomic_t is_raw = 0;

void put_back(int signal_number) {
  if (is_raw) tcsetattr(0, TCSANOW, &before);
  signal(signal_number, SIG_DFL);
  raise(signal_number);
}

std::string read_line() {
  std::string line;
  char c = 0;
  for (;;) {
    auto n = read(0, &c, 1);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      if (line.empty()) fail("EOF");
      return line;
    }
    if (c == '\n') return line;
    line += c;
  }
}

} // namespace

bool is_terminal(int fd) { return isatty(fd) == 1; }

std::pair<int, int> terminal_size(int fd) {
  winsize w{};
  if (ioctl(fd, TIOCGWINSZ, &w) != 0) return {0, 0};
  return {w.ws_col, w.ws_row};
}

std::string ask(const std::string &question, const std::string &initial) {
  print(question);
  auto line = read_line();
  return line.empty() ? initial : line;
}

bool ask_yes(const std::string &question, bool initial) {
  for (;;) {
    auto a = lower(ask(question, initial ? "yes" : "no"));
    if (a == "yes" || a == "y") return true;
    if (a == "no" || a == "n") return false;
    print_error("Invalid input, try again.\n\n");
  }
}

std::string ask_hidden(const std::string &question) {
  print(question);
  termios t{};
  bool tty = tcgetattr(0, &t) == 0;
  if (tty) {
    auto silent = t;
    silent.c_lflag &= ~static_cast<tcflag_t>(ECHO);
    tcsetattr(0, TCSANOW, &silent);
  }
  auto line = read_line();
  if (tty) tcsetattr(0, TCSANOW, &t);
  print("\n");
  return line;
}

RawMode::RawMode() {
  if (tcgetattr(0, &before) != 0) return;
  auto raw = before;
  cfmakeraw(&raw);
  if (tcsetattr(0, TCSANOW, &raw) != 0) return;
  on_ = true;
  is_raw = 1;
  for (int s : {SIGTERM, SIGHUP, SIGQUIT, SIGABRT, SIGSEGV}) signal(s, put_back);
}
RawMode::~RawMode() {
  if (!on_) return;
  is_raw = 0;
  tcsetattr(0, TCSANOW, &before);
}

} // namespace cli
