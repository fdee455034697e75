// SPDX-License-Identifier: Apache-2.0
#include "base/time.hpp"

#include <cstdio>

#include "base/error.hpp"
#include "base/names.hpp"

namespace incus::base {

Time now() noexcept { return std::chrono::system_clock::now(); }

std::string format_time(Time t) {
  if (t == Time{}) return "0001-01-01T00:00:00Z";
  using namespace std::chrono;
  auto day = floor<days>(t);
  year_month_day d(day);
  hh_mm_ss h(t - day);
  std::string out = fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}", static_cast<int>(d.year()), static_cast<unsigned>(d.month()),
                                static_cast<unsigned>(d.day()), h.hours().count(), h.minutes().count(), h.seconds().count());
  if (auto ns = h.subseconds().count()) {
    out += fmt::format(".{:09}", ns);
    while (out.back() == '0') out.pop_back();
  }
  return out + "Z";
}

Time parse_time(std::string_view text) {
  using namespace std::chrono;
  std::string s(text);
  int y = 0, mo = 0, d = 0, h = 0, mi = 0, se = 0, n = 0;
  auto bad = [&]() { fail(ErrorCode::invalid_argument, "invalid time {}: must be RFC 3339, such as 2026-01-31T12:00:00Z", quoted(text)); };
  // sscanf() takes blanks and signs for digits.
  constexpr std::string_view form = "dddd-dd-ddTdd:dd:dd";
  bool shaped = s.size() >= form.size() && s.size() <= 64;
  for (std::size_t k = 0; shaped && k < form.size(); k++) shaped = form[k] == 'd' ? s[k] >= '0' && s[k] <= '9' : s[k] == form[k];
  if (!shaped || std::sscanf(s.c_str(), "%4d-%2d-%2dT%2d:%2d:%2d%n", &y, &mo, &d, &h, &mi, &se, &n) != 6 || n != 19) bad();
  if (mo < 1 || mo > 12 || d < 1 || d > 31 || h < 0 || h > 23 || mi < 0 || mi > 59 || se < 0 || se > 60) bad();
  std::size_t i = 19;
  std::int64_t ns = 0;
  if (i < s.size() && s[i] == '.') {
    std::int64_t scale = 100'000'000;
    std::size_t first = ++i;
    for (; i < s.size() && s[i] >= '0' && s[i] <= '9'; i++, scale /= 10) ns += (s[i] - '0') * scale;
    if (i == first) bad();
  }
  std::int64_t offset = 0;
  if (s.substr(i) != "Z" && s.substr(i) != "z") {
    auto digit = [&](std::size_t k) { return s[k] >= '0' && s[k] <= '9'; };
    if (i + 6 != s.size() || (s[i] != '+' && s[i] != '-') || !digit(i + 1) || !digit(i + 2) || s[i + 3] != ':' || !digit(i + 4) || !digit(i + 5)) bad();
    int oh = (s[i + 1] - '0') * 10 + s[i + 2] - '0', om = (s[i + 4] - '0') * 10 + s[i + 5] - '0';
    if (oh > 23 || om > 59) bad();
    offset = (oh * 3600 + om * 60) * (s[i] == '-' ? -1 : 1);
  }
  if (y < 1970) return Time{};
  if (y > 2200) bad();
  year_month_day ymd{year(y), month(static_cast<unsigned>(mo)), day(static_cast<unsigned>(d))};
  if (!ymd.ok()) bad();
  return sys_days(ymd) + hours(h) + minutes(mi) + seconds(se - offset) + nanoseconds(ns);
}

} // namespace incus::base
