// SPDX-License-Identifier: Apache-2.0
#include "instance/schedule.hpp"

#include <array>
#include <bitset>
#include <charconv>
#include <chrono>
#include <optional>
#include <vector>

#include "base/error.hpp"
#include "base/names.hpp"
#include "base/time.hpp"
#include "instance/manager.hpp"
#include "schema/schema.hpp"

namespace incus::instance {

namespace {

std::optional<int> number(std::string_view t) {
  int n = 0;
  auto [end, ec] = std::from_chars(t.data(), t.data() + t.size(), n);
  if (t.empty() || ec != std::errc() || end != t.data() + t.size() || n < 0) return std::nullopt;
  return n;
}

std::vector<std::string_view> split(std::string_view t, char separator) {
  std::vector<std::string_view> out;
  for (std::size_t at = 0; at <= t.size();) {
    auto end = std::min(t.find(separator, at), t.size());
    out.push_back(t.substr(at, end - at));
    at = end + 1;
  }
  return out;
}

std::string_view trimmed(std::string_view t) {
  while (!t.empty() && t.front() == ' ') t.remove_prefix(1);
  while (!t.empty() && t.back() == ' ') t.remove_suffix(1);
  return t;
}

struct Field {
  std::bitset<64> values;
  bool any = false; ///< "*"
};

/// "*", "5", "1-5", "*/15", "1-30/2" and lists of them.
std::optional<Field> field(std::string_view text, int low, int high) {
  Field f;
  for (auto part : split(text, ',')) {
    auto slash = part.find('/');
    auto step = slash == std::string_view::npos ? std::optional(1) : number(part.substr(slash + 1));
    auto range = part.substr(0, slash);
    int first = low, last = high;
    if (range == "*" || range == "?") {
      f.any = f.any || slash == std::string_view::npos;
    } else {
      auto dash = range.find('-');
      auto a = number(range.substr(0, dash));
      auto b = dash != std::string_view::npos ? number(range.substr(dash + 1)) : slash != std::string_view::npos ? std::optional(high) : a;
      if (!a || !b) return std::nullopt;
      first = *a;
      last = *b;
    }
    if (!step || *step < 1 || first < low || last > high || first > last) return std::nullopt;
    for (int i = first; i <= last; i += *step) f.values.set(static_cast<std::size_t>(i));
  }
  return f;
}

using Cron = std::array<Field, 5>;

std::optional<Cron> cron(std::string_view text) {
  constexpr int low[] = {0, 0, 1, 1, 0}, high[] = {59, 23, 31, 12, 7};
  Cron c;
  std::size_t n = 0;
  for (auto word : split(trimmed(text), ' ')) {
    if (word.empty()) continue;
    if (n == 5) return std::nullopt;
    auto f = field(word, low[n], high[n]);
    if (!f) return std::nullopt;
    c[n++] = *f;
  }
  if (n != 5) return std::nullopt;
  if (c[4].values[7]) c[4].values.set(0); // both are Sunday
  return c;
}

const char *cron_of(std::string_view word) {
  if (word == "@hourly") return "0 * * * *";
  if (word == "@daily" || word == "@midnight") return "0 0 * * *";
  if (word == "@weekly") return "0 0 * * 0";
  if (word == "@monthly") return "0 0 1 * *";
  if (word == "@annually" || word == "@yearly") return "0 0 1 1 *";
  return nullptr;
}

bool due(const Cron &c, const std::tm &t) {
  auto in = [](const Field &f, int v) { return f.values[static_cast<std::size_t>(v)]; };
  if (!in(c[0], t.tm_min) || !in(c[1], t.tm_hour) || !in(c[3], t.tm_mon + 1)) return false;
  // As cron has it: when both days are restricted, either will do.
  bool month_day = in(c[2], t.tm_mday), week_day = in(c[4], t.tm_wday);
  return c[2].any || c[4].any ? month_day && week_day : month_day || week_day;
}

/// A schedule is one or more of expressions and words, separated by a comma and a space: a comma alone is part of an expression's list, though not of
/// a word.
std::vector<std::string_view> triggers(std::string_view text) {
  std::vector<std::string_view> out;
  for (std::size_t at = 0; at <= text.size();) {
    bool word = trimmed(text.substr(at)).starts_with('@');
    auto end = text.find(',', at);
    while (!word && end != text.npos && text.substr(end + 1, 1) != " ") end = text.find(',', end + 1);
    if (end == text.npos) end = text.size();
    out.push_back(trimmed(text.substr(at, end - at)));
    at = end + 1;
  }
  return out;
}

struct Span {
  int n;
  char unit;
};
std::optional<std::vector<Span>> spans(std::string_view text) {
  std::vector<Span> out;
  for (auto word : split(trimmed(text), ' ')) {
    if (word.empty()) continue;
    auto n = number(word.substr(0, word.size() - 1));
    if (!n || *n > 100000 || std::string_view("SMHdwmy").find(word.back()) == std::string_view::npos) return std::nullopt;
    out.push_back({*n, word.back()});
  }
  return out;
}

} // namespace

std::string is_schedule(std::string_view text) {
  constexpr const char *rule = "must be a cron expression such as \"0 6 * * *\", or a word among @hourly, @daily, @midnight, @weekly, @monthly, @annually, @yearly, "
                               "@startup and @never, or several of both separated by a comma and a space";
  if (trimmed(text).empty()) return {};
  for (auto t : triggers(text))
    if (!cron_of(t) && t != "@startup" && t != "@never" && !cron(t)) return rule;
  return {};
}

bool schedule_due(std::string_view text, const std::tm &minute) {
  if (trimmed(text).empty()) return false;
  for (auto t : triggers(text)) {
    auto *word = cron_of(t);
    if (auto c = cron(word ? word : t); c && due(*c, minute)) return true;
  }
  return false;
}

bool schedule_at_start(std::string_view text) {
  for (auto t : triggers(text))
    if (t == "@startup") return true;
  return false;
}

std::string is_expiry(std::string_view text) {
  return spans(text) ? "" : "must be numbers with units S, M (minutes), H, d, w, m (months) or y, separated by spaces, such as 1d 12H";
}

Time expiry_after(std::string_view text, Time from) {
  auto all = spans(text);
  if (!all || all->empty()) return {};
  using namespace std::chrono;
  auto day = floor<days>(from);
  year_month_day date(day);
  auto rest = from - day;
  days more{0};
  for (auto &s : *all) {
    switch (s.unit) {
    case 'S': rest += seconds(s.n); break;
    case 'M': rest += minutes(s.n); break;
    case 'H': rest += hours(s.n); break;
    case 'd': more += days(s.n); break;
    case 'w': more += days(7 * s.n); break;
    case 'm': date += months(s.n); break;
    default: date += years(std::min(s.n, 150)); break;
    }
  }
  // The 31st of a shorter month is a day of the next.
  if (!date.ok()) date = sys_days(date);
  return sys_days(date) + more + rest;
}

void Manager::run_schedules(Time now) {
  auto seconds = std::chrono::system_clock::to_time_t(std::chrono::time_point_cast<std::chrono::system_clock::duration>(now));
  std::tm minute{};
  ::localtime_r(&seconds, &minute);
  if (!any_schedule()) return;
  for_all([&](const db::InstanceRow &r, const Expanded &e) {
    auto &c = e.config;
    auto schedule = c.find("snapshots.schedule");
    if (schedule == c.end() || !schedule_due(schedule->second, minute)) return;
    auto stopped = c.find("snapshots.schedule.stopped");
    if (!is_live(r.id) && (stopped == c.end() || !schema::truthy(stopped->second))) return;
    try {
      create_snapshot(r.project, r.name, {}, [](const std::string &, std::uint64_t, std::uint64_t) {});
    } catch (const std::exception &err) {
      ctx_.log.error("cannot make the scheduled snapshot of instance {}: {}", r.name, err.what());
    }
  });
}

/// Most hosts have none, and a start is to be quick.
bool Manager::any_schedule() {
  bool any = false;
  ctx_.global.query("SELECT EXISTS (SELECT 1 FROM instances_config WHERE key = 'snapshots.schedule') OR "
                    "EXISTS (SELECT 1 FROM profiles_config WHERE key = 'snapshots.schedule')",
                    {}, [&](const db::Row &r) { any = r.flag(0); });
  return any;
}

/// The caller holds the instance's claim, and it does not run.
void Manager::snapshot_at_start(const db::InstanceRow &r, const Expanded &e) {
  auto schedule = e.config.find("snapshots.schedule");
  if (schedule == e.config.end() || !schedule_at_start(schedule->second)) return;
  snapshot_claimed(r.project, r.name, {}, [](const std::string &, std::uint64_t, std::uint64_t) {});
}

void Manager::expire_snapshots(Time now) {
  struct Old {
    std::string project, instance, name, expires;
  };
  std::vector<Old> all;
  ctx_.global.query("SELECT p.name, i.name, s.name, s.expiry_date FROM instances_snapshots s JOIN instances i ON i.id = s.instance_id "
                    "JOIN projects p ON p.id = i.project_id WHERE s.expiry_date IS NOT NULL",
                    {}, [&](const db::Row &r) { all.push_back({r.text(0), r.text(1), r.text(2), r.text(3)}); });
  for (auto &s : all) {
    try {
      auto expires = base::parse_time(s.expires);
      if (expires != Time{} && expires <= now) remove_snapshot(s.project, s.instance, s.name);
    } catch (const std::exception &e) {
      ctx_.log.error("cannot remove the expired snapshot {} of instance {}: {}", s.name, s.instance, e.what());
    }
  }
}

} // namespace incus::instance
