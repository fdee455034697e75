// SPDX-License-Identifier: Apache-2.0
// Runs the C scenarios: in memory, and as root on real containers.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include "scenarios.h"
#include "testing.hpp"

using namespace incus::testing;

namespace {

void report(const char *problem) {
  INFO("" << (problem ? problem : ""));
  CHECK(problem == nullptr);
}

} // namespace

TEST_CASE("a C program on a host in memory") {
  Dir dir;
  make_busybox_image(dir / "image");
  report(scenario_program("test://", (dir / "image").c_str(), dir.path().c_str()));
}

TEST_CASE("a C program on a real host") {
  if (::geteuid() != 0) INCUS_SKIP("real containers need root");
  Dir dir;
  make_busybox_image(dir / "image");
  report(scenario_program(("embed://" + (dir / "host")).c_str(), (dir / "image").c_str(), dir.path().c_str()));
}

TEST_CASE("refusals in C") {
  Dir dir;
  report(scenario_refusals(dir.path().c_str()));
}
