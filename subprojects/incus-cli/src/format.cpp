// SPDX-License-Identifier: Apache-2.0
// Sizes, times and text.
#include <ctime>

#include "output.hpp"

namespace cli {

namespace {

std::string scaled(std::int64_t bytes, int digits, double step, std::initializer_list<const char *> units) {
  if (static_cast<double>(bytes) < step) return fmt::format("{}B", bytes);
  auto value = static_cast<double>(bytes);
  const char *last = "";
  for (auto *u : units) {
    value /= step;
    last = u;
    if (value < step) break;
  }
  return fmt::format("{:.{}f}{}", value, digits, last);
}

} // namespace

std::string size_iec(std::int64_t bytes, int digits) { return scaled(bytes, digits, 1024, {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}); }
std::string size_si(std::int64_t bytes, int digits) { return scaled(bytes, digits, 1000, {"kB", "MB", "GB", "TB", "PB", "EB"}); }

std::int64_t parse_size(const std::string &text) {
  std::size_t n = text.find_first_not_of("0123456789");
  if (n == 0) return -1;
  auto value = std::strtoll(text.c_str(), nullptr, 10);
  auto unit = n == std::string::npos ? std::string() : text.substr(n);
  if (unit.empty() || unit == "B" || unit == " bytes") return value;
  static const std::string_view letters = "kMGTPE", binary = "KMGTPE";
  bool iec = unit.size() == 3 && unit[1] == 'i' && unit[2] == 'B', si = unit.size() == 2 && unit[1] == 'B';
  auto power = iec ? binary.find(unit[0]) : si ? letters.find(unit[0]) : std::string_view::npos;
  if (power == std::string_view::npos) return -1;
  for (std::size_t i = 0; i <= power; i++) {
    std::int64_t next = 0;
    if (__builtin_mul_overflow(value, iec ? 1024 : 1000, &next)) return -1;
    value = next;
  }
  return value;
}

bool zero_time(const std::string &t) { return t.empty() || t.rfind("0001-01-01T00:00:00", 0) == 0 || t.rfind("1970-01-01T00:00:00Z", 0) == 0; }

std::int64_t unix_time(const std::string &t) {
  tm parts{};
  const char *rest = strptime(t.c_str(), "%Y-%m-%dT%H:%M:%S", &parts);
  if (!rest) return 0;
  auto seconds = timegm(&parts);
  if (*rest == '.') rest = rest + 1 + std::string_view(rest + 1).find_first_not_of("0123456789");
  if ((*rest == '+' || *rest == '-') && strlen(rest) >= 6) {
    auto offset = (std::atoi(std::string(rest + 1, 2).c_str()) * 60 + std::atoi(std::string(rest + 4, 2).c_str())) * 60;
    seconds += *rest == '+' ? -offset : offset;
  }
  return seconds;
}

std::string show_time(const std::string &t, const char *layout) {
  if (t.empty() || t.rfind("0001-01-01T00:00:00", 0) == 0) return {};
  time_t seconds = unix_time(t);
  tm parts{};
  localtime_r(&seconds, &parts);
  char out[128];
  out[strftime(out, sizeof out, layout, &parts)] = 0;
  return out;
}

std::string expiry_from_now(const std::string &text) {
  tm parts{};
  time_t now = time(nullptr);
  gmtime_r(&now, &parts);
  for (auto &word : split_text(text, ' ')) {
    if (word.empty()) continue;
    char *end = nullptr;
    auto n = static_cast<int>(std::strtol(word.c_str(), &end, 10));
    if (end == word.c_str() || !*end || end[1]) fail("Invalid expiry expression: {}", text);
    switch (*end) {
    case 'S':
      parts.tm_sec += n;
      break;
    case 'M':
      parts.tm_min += n;
      break;
    case 'H':
      parts.tm_hour += n;
      break;
    case 'd':
      parts.tm_mday += n;
      break;
    case 'w':
      parts.tm_mday += 7 * n;
      break;
    case 'm':
      parts.tm_mon += n;
      break;
    case 'y':
      parts.tm_year += n;
      break;
    default:
      fail("Invalid expiry expression: {}", text);
    }
  }
  time_t then = timegm(&parts);
  gmtime_r(&then, &parts);
  char out[64];
  out[strftime(out, sizeof out, "%Y-%m-%dT%H:%M:%SZ", &parts)] = 0;
  return out;
}

std::string upper(std::string t) {
  for (auto &c : t)
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  return t;
}
std::string lower(std::string t) {
  for (auto &c : t)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return t;
}
std::string join(const Strings &parts, std::string_view between) {
  std::string out;
  for (auto &p : parts) {
    if (&p != &parts.front()) out += between;
    out += p;
  }
  return out;
}
Strings split_text(std::string_view text, char at, int most) {
  Strings out;
  for (;;) {
    auto cut = most > 0 && static_cast<int>(out.size()) + 1 >= most ? std::string_view::npos : text.find(at);
    out.emplace_back(text.substr(0, cut));
    if (cut == std::string_view::npos) return out;
    text.remove_prefix(cut + 1);
  }
}
bool parse_bool(const std::string &text) {
  auto t = lower(text);
  return t == "true" || t == "1" || t == "yes" || t == "on" || t == "y";
}

} // namespace cli
