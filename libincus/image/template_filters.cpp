// SPDX-License-Identifier: Apache-2.0
// The filters of the template language. Letters other than ASCII keep their case; lengths count code points.
#include <algorithm>
#include <array>
#include <fmt/format.h>

#include "base/error.hpp"
#include "base/names.hpp"
#include "image/template_parts.hpp"

namespace incus::image::language {

namespace {

using Argument = const json::value *;

std::string lower(std::string t) {
  for (auto &c : t)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  return t;
}
std::string upper(std::string t) {
  for (auto &c : t)
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 32);
  return t;
}
bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\v' || c == '\f'; }

/// Where each code point begins, and the end.
std::vector<std::size_t> points(const std::string &t) {
  std::vector<std::size_t> out;
  for (std::size_t i = 0; i < t.size(); i++)
    if ((static_cast<unsigned char>(t[i]) & 0xc0) != 0x80) out.push_back(i);
  out.push_back(t.size());
  return out;
}

std::int64_t length_of(const json::value &v) {
  if (auto *a = v.if_array()) return static_cast<std::int64_t>(a->size());
  if (auto *o = v.if_object()) return static_cast<std::int64_t>(o->size());
  if (v.is_string()) return static_cast<std::int64_t>(points(std::string(v.get_string())).size()) - 1;
  return 0;
}

const json::value &needed(Argument a, int line, std::string_view filter) {
  if (!a) wrong(line, fmt::format("filter {} wants an argument", filter));
  return *a;
}

std::vector<std::string> words(const std::string &t) {
  std::vector<std::string> out;
  for (std::size_t at = 0; at < t.size();) {
    while (at < t.size() && is_space(t[at])) at++;
    auto from = at;
    while (at < t.size() && !is_space(t[at])) at++;
    if (at > from) out.push_back(t.substr(from, at - from));
  }
  return out;
}

std::string replaced(const std::string &t, const std::string &what, const std::string &by) {
  if (what.empty()) return t;
  std::string out;
  for (std::size_t at = 0;;) {
    auto i = t.find(what, at);
    out.append(t, at, i == t.npos ? t.npos : i - at);
    if (i == t.npos) return out;
    out += by;
    at = i + what.size();
  }
}

json::value padded(State &s, int line, const json::value &in, Argument a, std::string_view filter, int where) {
  auto width = whole(needed(a, line, filter), line, filter);
  if (width > 100'000) wrong(line, fmt::format("filter {} pads to 100000 places at most", filter));
  auto t = print(in);
  auto missing = width - length_of(json::value(t));
  if (missing <= 0) return text(s, line, std::move(t));
  auto left = where < 0 ? 0 : where > 0 ? missing : missing / 2;
  return text(s, line, std::string(static_cast<std::size_t>(left), ' ') + t + std::string(static_cast<std::size_t>(missing - left), ' '));
}

json::value sliced(State &s, int line, const json::value &in, const std::string &range) {
  auto colon = range.find(':');
  if (colon == range.npos) wrong(line, "filter slice wants \"FROM:TO\"");
  auto size = length_of(in);
  auto bound = [&](std::string_view t, std::int64_t otherwise) {
    auto n = t.empty() ? otherwise : whole(json::value(std::string(t)), line, "slice");
    if (n < 0) n += size;
    return std::clamp<std::int64_t>(n, 0, size);
  };
  auto from = bound(std::string_view(range).substr(0, colon), 0), to = std::max(from, bound(std::string_view(range).substr(colon + 1), size));
  if (auto *list = in.if_array()) return json::value(json::array(list->begin() + from, list->begin() + to));
  auto t = print(in);
  auto p = points(t);
  return text(s, line, t.substr(p[static_cast<std::size_t>(from)], p[static_cast<std::size_t>(to)] - p[static_cast<std::size_t>(from)]));
}

json::value quoted_for_url(State &s, int line, const std::string &t) {
  std::string out;
  for (unsigned char c : t)
    if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '_' || c == '.' || c == '~')
      out += static_cast<char>(c);
    else
      out += fmt::format("%{:02X}", c);
  return text(s, line, std::move(out));
}

json::value chosen(State &s, int line, const json::value &in, Argument a) {
  auto choices = a ? print(*a) : std::string("yes,no");
  std::vector<std::string> c{""};
  for (char x : choices) {
    if (x == ',')
      c.emplace_back();
    else
      c.back() += x;
  }
  if (c.size() < 2) wrong(line, "filter yesno wants \"YES,NO\" or \"YES,NO,NOTHING\"");
  return text(s, line, in.is_null() && c.size() > 2 ? c[2] : truth(in) ? c[0] : c[1]);
}

json::value one_of(const json::value &in, bool last) {
  if (auto *a = in.if_array()) return a->empty() ? json::value() : last ? a->back() : a->front();
  if (!in.is_string()) return in;
  std::string t(in.get_string());
  auto p = points(t);
  if (p.size() < 2) return "";
  return json::value(last ? t.substr(p[p.size() - 2]) : t.substr(0, p[1]));
}

struct Entry {
  std::string_view name;
  Filter filter;
};

constexpr std::array entries{
    Entry{"add", [](State &s, int line, const json::value &in, Argument a) -> json::value {
            auto &other = needed(a, line, "add");
            if (in.is_int64() && other.is_int64()) {
              std::int64_t sum = 0;
              if (__builtin_add_overflow(in.get_int64(), other.get_int64(), &sum)) wrong(line, "a number is too large");
              return sum;
            }
            return text(s, line, print(in) + print(other));
          }},
    Entry{"addslashes", [](State &s, int line, const json::value &in, Argument) {
            std::string out;
            for (char c : print(in)) {
              if (c == '\\' || c == '"' || c == '\'') out += '\\';
              out += c;
            }
            return text(s, line, std::move(out));
          }},
    Entry{"capfirst", [](State &s, int line, const json::value &in, Argument) {
            auto t = print(in);
            if (!t.empty()) t = upper(t.substr(0, 1)) + t.substr(1);
            return text(s, line, std::move(t));
          }},
    Entry{"center", [](State &s, int line, const json::value &in, Argument a) { return padded(s, line, in, a, "center", 0); }},
    Entry{"cut", [](State &s, int line, const json::value &in, Argument a) { return text(s, line, replaced(print(in), print(needed(a, line, "cut")), "")); }},
    Entry{"default", [](State &, int line, const json::value &in, Argument a) { return truth(in) ? in : needed(a, line, "default"); }},
    Entry{"default_if_none", [](State &, int line, const json::value &in, Argument a) { return in.is_null() ? needed(a, line, "default_if_none") : in; }},
    Entry{"divisibleby", [](State &, int line, const json::value &in, Argument a) -> json::value {
            auto by = whole(needed(a, line, "divisibleby"), line, "divisibleby");
            return by != 0 && by != -1 ? whole(in, line, "divisibleby") % by == 0 : by == -1;
          }},
    Entry{"first", [](State &, int, const json::value &in, Argument) { return one_of(in, false); }},
    Entry{"float", [](State &, int line, const json::value &in, Argument) -> json::value {
            if (in.is_double()) return in;
            auto t = print(in);
            char *end = nullptr;
            double d = std::strtod(t.c_str(), &end);
            if (t.empty() || *end) wrong(line, fmt::format("filter float wants a number, not {}", base::quoted(t)));
            return d;
          }},
    Entry{"integer", [](State &, int line, const json::value &in, Argument) -> json::value {
            if (!in.is_double()) return whole(in, line, "integer");
            if (!(in.get_double() > -9e18 && in.get_double() < 9e18)) wrong(line, "a number is too large");
            return static_cast<std::int64_t>(in.get_double());
          }},
    Entry{"join", [](State &s, int line, const json::value &in, Argument a) -> json::value {
            auto *list = in.if_array();
            if (!list) return in;
            auto by = print(needed(a, line, "join"));
            std::string out;
            for (std::size_t i = 0; i < list->size(); i++) {
              out += (i ? by : "") + print((*list)[i]);
              s.step(line, by.size());
            }
            return text(s, line, std::move(out));
          }},
    Entry{"last", [](State &, int, const json::value &in, Argument) { return one_of(in, true); }},
    Entry{"length", [](State &s, int line, const json::value &in, Argument) -> json::value {
            s.step(line, in.is_string() ? in.get_string().size() : 0);
            return length_of(in);
          }},
    Entry{"length_is", [](State &, int line, const json::value &in, Argument a) -> json::value {
            return length_of(in) == whole(needed(a, line, "length_is"), line, "length_is");
          }},
    Entry{"ljust", [](State &s, int line, const json::value &in, Argument a) { return padded(s, line, in, a, "ljust", -1); }},
    Entry{"lower", [](State &s, int line, const json::value &in, Argument) { return text(s, line, lower(print(in))); }},
    Entry{"make_list", [](State &s, int line, const json::value &in, Argument) -> json::value {
            auto t = print(in);
            auto p = points(t);
            s.step(line, p.size() * 256);
            json::array out;
            for (std::size_t i = 0; i + 1 < p.size(); i++) out.emplace_back(t.substr(p[i], p[i + 1] - p[i]));
            return out;
          }},
    Entry{"replace", [](State &s, int line, const json::value &in, Argument a) {
            auto pair = print(needed(a, line, "replace"));
            auto comma = pair.find(',');
            if (comma == pair.npos) wrong(line, "filter replace wants \"OLD,NEW\"");
            return text(s, line, replaced(print(in), pair.substr(0, comma), pair.substr(comma + 1)));
          }},
    Entry{"rjust", [](State &s, int line, const json::value &in, Argument a) { return padded(s, line, in, a, "rjust", 1); }},
    Entry{"safe", [](State &, int, const json::value &in, Argument) { return in; }},
    Entry{"slice", [](State &s, int line, const json::value &in, Argument a) { return sliced(s, line, in, print(needed(a, line, "slice"))); }},
    Entry{"split", [](State &s, int line, const json::value &in, Argument a) -> json::value {
            auto t = print(in), by = print(needed(a, line, "split"));
            json::array out;
            for (std::size_t at = 0;;) {
              s.step(line, 256);
              auto i = by.empty() ? t.npos : t.find(by, at);
              out.emplace_back(t.substr(at, i == t.npos ? t.npos : i - at));
              if (i == t.npos) return out;
              at = i + by.size();
            }
          }},
    Entry{"title", [](State &s, int line, const json::value &in, Argument) {
            auto t = lower(print(in));
            for (std::size_t i = 0; i < t.size(); i++)
              if (i == 0 || is_space(t[i - 1])) t[i] = upper(std::string(1, t[i]))[0];
            return text(s, line, std::move(t));
          }},
    Entry{"trim", [](State &s, int line, const json::value &in, Argument) {
            auto t = print(in);
            while (!t.empty() && is_space(t.back())) t.pop_back();
            std::size_t at = 0;
            while (at < t.size() && is_space(t[at])) at++;
            return text(s, line, t.substr(at));
          }},
    Entry{"truncatechars", [](State &s, int line, const json::value &in, Argument a) {
            auto most = whole(needed(a, line, "truncatechars"), line, "truncatechars");
            auto t = print(in);
            auto p = points(t);
            if (most < 0 || static_cast<std::int64_t>(p.size()) - 1 <= most) return text(s, line, std::move(t));
            return text(s, line, most > 3 ? t.substr(0, p[static_cast<std::size_t>(most) - 3]) + "..." : t.substr(0, p[static_cast<std::size_t>(most)]));
          }},
    Entry{"upper", [](State &s, int line, const json::value &in, Argument) { return text(s, line, upper(print(in))); }},
    Entry{"urlencode", [](State &s, int line, const json::value &in, Argument) { return quoted_for_url(s, line, print(in)); }},
    Entry{"wordcount", [](State &s, int line, const json::value &in, Argument) -> json::value {
            auto t = print(in);
            s.step(line, t.size());
            return static_cast<std::int64_t>(words(t).size());
          }},
    Entry{"yesno", [](State &s, int line, const json::value &in, Argument a) { return chosen(s, line, in, a); }},
};

} // namespace

Filter filter_named(std::string_view name) {
  for (auto &e : entries)
    if (e.name == name) return e.filter;
  return nullptr;
}

} // namespace incus::image::language
