// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include "base/time.hpp"
#include "instance/schedule.hpp"

using namespace incus;
using namespace incus::instance;

namespace {
/// 2026-11-22 was a Sunday.
std::tm at(int month, int day, int hour, int minute, int weekday) {
  std::tm t{};
  t.tm_year = 126;
  t.tm_mon = month - 1;
  t.tm_mday = day;
  t.tm_hour = hour;
  t.tm_min = minute;
  t.tm_wday = weekday;
  return t;
}
} // namespace

TEST_CASE("schedule: what is one") {
  for (auto *good : {"", "* * * * *", "0 6 * * *", "*/15 0-5,22 1 1-6/2 1-5", "5/10 * * * 7", "@daily", "@hourly, @startup", "@never", "  0  6 * * * "})
    CHECK_MESSAGE(is_schedule(good).empty(), good);
  for (auto *bad : {"* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 8", "*/0 * * * *", "5-1 * * * *", "a * * * *", "@often",
                    "@daily, x", "-1 * * * *", "1- * * * *"})
    CHECK_MESSAGE(!is_schedule(bad).empty(), bad);
}

TEST_CASE("schedule: its minutes") {
  CHECK(schedule_due("* * * * *", at(11, 22, 13, 7, 0)));
  CHECK(schedule_due("7 13 * * *", at(11, 22, 13, 7, 0)));
  CHECK_FALSE(schedule_due("8 13 * * *", at(11, 22, 13, 7, 0)));
  CHECK(schedule_due("*/5 * * * *", at(11, 22, 13, 10, 0)));
  CHECK_FALSE(schedule_due("*/5 * * * *", at(11, 22, 13, 11, 0)));
  CHECK(schedule_due("0 0 * * 7", at(11, 22, 0, 0, 0)));
  // Restricted days of both kinds: either.
  CHECK(schedule_due("0 0 13 * 0", at(11, 22, 0, 0, 0)));
  CHECK(schedule_due("0 0 13 * 0", at(11, 13, 0, 0, 5)));
  CHECK_FALSE(schedule_due("0 0 13 * 0", at(11, 14, 0, 0, 6)));
  CHECK(schedule_due("@daily", at(11, 22, 0, 0, 0)));
  CHECK_FALSE(schedule_due("@daily", at(11, 22, 0, 1, 0)));
  CHECK(schedule_due("@never, @hourly", at(11, 22, 5, 0, 0)));
  CHECK_FALSE(schedule_due("@never", at(11, 22, 0, 0, 0)));
  // Words and expressions together; a comma without a space belongs to an expression.
  CHECK(is_schedule("@startup, 10 2,5-8/2 * * *, @daily").empty());
  CHECK_FALSE(is_schedule("10 5,6 * * *,@startup").empty());
  CHECK(schedule_due("@startup, 10 5,6 * * *", at(11, 22, 6, 10, 0)));
  CHECK(schedule_due("10 5,6 * * *, @daily", at(11, 22, 0, 0, 0)));
  CHECK_FALSE(schedule_due("@startup, 10 5,6 * * *", at(11, 22, 7, 10, 0)));
  CHECK_FALSE(schedule_due("", at(11, 22, 0, 0, 0)));
  CHECK(schedule_at_start("@daily, @startup"));
  CHECK_FALSE(schedule_at_start("@daily"));
}

TEST_CASE("schedule: how long a snapshot lives") {
  auto from = base::parse_time("2026-01-31T12:00:00Z");
  auto after = [&](const char *t) { return base::format_time(expiry_after(t, from)); };
  CHECK(expiry_after("", from) == Time{});
  CHECK(after("30M") == "2026-01-31T12:30:00Z");
  CHECK(after("1d 12H") == "2026-02-02T00:00:00Z");
  CHECK(after("2w") == "2026-02-14T12:00:00Z");
  CHECK(after("1m") == "2026-03-03T12:00:00Z");
  CHECK(after("1y") == "2027-01-31T12:00:00Z");
  for (auto *bad : {"1", "d", "1x", "-1d", "1d2w", "one day"}) CHECK_MESSAGE(!is_expiry(bad).empty(), bad);
  for (auto *good : {"", "1d", "1d 2w", " 3M "}) CHECK_MESSAGE(is_expiry(good).empty(), good);
}
