// SPDX-License-Identifier: Apache-2.0
// RFC 3339, and what only looks like it.
#include <doctest/doctest.h>

#include <incus/error.hpp>

#include "base/time.hpp"

using namespace incus;
using base::format_time;
using base::parse_time;

TEST_CASE("time: there and back") {
  for (auto *text : {"2026-01-31T12:00:00Z", "1970-01-01T00:00:01Z", "2026-01-31T12:00:00.5Z", "2026-01-31T12:00:00.000000001Z", "2200-12-31T23:59:59Z"}) {
    CAPTURE(text);
    CHECK(format_time(parse_time(text)) == text);
  }
  CHECK(parse_time("2026-01-31T12:00:00+02:30") == parse_time("2026-01-31T09:30:00Z"));
  CHECK(parse_time("2026-01-31T12:00:00-02:30") == parse_time("2026-01-31T14:30:00z"));
  CHECK(parse_time("0001-01-01T00:00:00Z") == Time{});
  CHECK(format_time(Time{}) == "0001-01-01T00:00:00Z");
}

TEST_CASE("time: what is none") {
  for (auto *text : {"", "2026-01-31", "2026-01-31 12:00:00Z", "2026-01-31T12:00:00", "2026-02-30T12:00:00Z", "2026-13-01T12:00:00Z", "2026-00-01T12:00:00Z", "2026-01-31T24:00:00Z",
                     "2026-01-31T12:60:00Z", "2026-01-31T12:00:61Z", "2026-01-31T12:00:00.Z", "2026-01-31T12:00:00+2:30", "2026-01-31T12:00:00+24:00", "2026-01-31T12:00:00+00:60",
                     "2026-01-31T12:00:00+-1:30", "2026-01-31T12:00:00+ 1:30", "2026- 1-31T12:00:00Z", "2026-+1-31T12:00:00Z", " 026-01-31T12:00:00Z", "2026-01-31T12:00: 0Z",
                     "2026-01-31T12:00:00Zx", "2201-01-01T00:00:00Z", "2026-1-31T012:00:00Z"}) {
    CAPTURE(text);
    CHECK_THROWS_AS(parse_time(text), Error);
  }
}
