// SPDX-License-Identifier: Apache-2.0
#define DOCTEST_CONFIG_IMPLEMENT
#include <cstdio>
#include <cstdlib>
#include <doctest/doctest.h>

#include "suite.hpp"

int main(int argc, char **argv) {
  doctest::Context context(argc, argv);
  const char *uri = std::getenv("INCUS_TEST_URI");
  try {
    suite::open(uri && *uri ? uri : SUITE_URI, SUITE_DRIVER);
  } catch (const std::exception &e) {
    std::fprintf(stderr, "the conformance suite cannot begin: %s\n", e.what());
    return 1;
  }
  for (auto &name : suite::not_run()) {
    // Commas separate patterns.
    auto pattern = name;
    for (auto &c : pattern)
      if (c == ',') c = '?';
    context.addFilter("test-case-exclude", pattern.c_str());
  }
  int failed = context.run();
  try {
    suite::close();
  } catch (const std::exception &e) {
    std::fprintf(stderr, "the conformance suite cannot end: %s\n", e.what());
    return 1;
  }
  return failed;
}
