// SPDX-License-Identifier: Apache-2.0
#include <csignal>
#include <cstdlib>

#include "app.hpp"

int main(int argc, char **argv) {
  signal(SIGPIPE, SIG_IGN); // a write that fails says so
  setlocale(LC_CTYPE, "C.UTF-8");
  try {
    return cli::run_command_line(cli::Strings(argv + 1, argv + argc));
  } catch (const cli::Failure &e) {
    if (*e.what()) cli::print_error(std::string("Error: ") + e.what() + "\n");
    return e.code;
  } catch (const std::exception &e) {
    cli::print_error(std::string("Error: ") + e.what() + "\n");
    return 1;
  }
}
