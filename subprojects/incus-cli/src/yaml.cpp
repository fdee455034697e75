// SPDX-License-Identifier: Apache-2.0
// YAML as the official client writes and reads it: keys of maps in natural order, fields of records in their own.
#include <yaml-cpp/yaml.h>

#include "output.hpp"

namespace cli {

namespace {

constexpr std::size_t line_width = 80;

bool letter(unsigned char c) { return isalpha(c) || c >= 0x80; }

/// Order of map keys: digits by value, other characters before letters.
bool key_less(std::string_view a, std::string_view b) {
  for (std::size_t i = 0; i < a.size() && i < b.size(); i++) {
    if (a[i] == b[i]) continue;
    bool la = letter(static_cast<unsigned char>(a[i])), lb = letter(static_cast<unsigned char>(b[i]));
    if (la && lb) return static_cast<unsigned char>(a[i]) < static_cast<unsigned char>(b[i]);
    if (la || lb) return lb;
    std::uint64_t na = 0, nb = 0;
    if (a[i] == '0' || b[i] == '0')
      for (std::size_t j = i; j-- > 0 && isdigit(static_cast<unsigned char>(a[j]));)
        if (a[j] != '0') {
          na = nb = 1;
          break;
        }
    std::size_t ea = i, eb = i;
    for (; ea < a.size() && isdigit(static_cast<unsigned char>(a[ea])); ea++) na = na * 10 + static_cast<std::uint64_t>(a[ea] - '0');
    for (; eb < b.size() && isdigit(static_cast<unsigned char>(b[eb])); eb++) nb = nb * 10 + static_cast<std::uint64_t>(b[eb] - '0');
    if (na != nb) return na < nb;
    if (ea != eb) return ea < eb;
    return static_cast<unsigned char>(a[i]) < static_cast<unsigned char>(b[i]);
  }
  return a.size() < b.size();
}

bool all_of(std::string_view t, const char *set) { return t.find_first_not_of(set) == std::string_view::npos; }

bool looks_like_number(std::string_view t) {
  std::string s;
  for (char c : t)
    if (c != '_') s += c;
  std::string_view v = s;
  if (!v.empty() && (v[0] == '+' || v[0] == '-')) v.remove_prefix(1);
  if (v.empty()) return false;
  if (v.rfind("0x", 0) == 0) return v.size() > 2 && all_of(v.substr(2), "0123456789abcdefABCDEF");
  if (v.rfind("0b", 0) == 0) return v.size() > 2 && all_of(v.substr(2), "01");
  if (v.rfind("0o", 0) == 0) return v.size() > 2 && all_of(v.substr(2), "01234567");
  if (v == ".inf" || v == ".Inf" || v == ".INF") return true;
  std::size_t i = 0, digits = 0;
  while (i < v.size() && isdigit(static_cast<unsigned char>(v[i]))) i++, digits++;
  if (i < v.size() && v[i] == '.') {
    i++;
    while (i < v.size() && isdigit(static_cast<unsigned char>(v[i]))) i++, digits++;
  }
  if (!digits) return false;
  if (i < v.size() && (v[i] == 'e' || v[i] == 'E')) {
    i++;
    if (i < v.size() && (v[i] == '+' || v[i] == '-')) i++;
    auto from = i;
    while (i < v.size() && isdigit(static_cast<unsigned char>(v[i]))) i++;
    if (i == from) return false;
  }
  return i == v.size();
}

/// "12:30:45": a number of YAML 1.1.
bool base60(std::string_view t) {
  auto colon = t.find(':');
  if (colon == std::string_view::npos) return false;
  if (!t.empty() && (t[0] == '+' || t[0] == '-')) {
    t.remove_prefix(1);
    colon--;
  }
  if (colon == 0 || !isdigit(static_cast<unsigned char>(t[0])) || !all_of(t.substr(0, colon), "0123456789_")) return false;
  auto rest = t.substr(colon);
  while (!rest.empty() && rest[0] == ':') {
    rest.remove_prefix(1);
    std::size_t n = 0;
    while (n < rest.size() && n < 2 && isdigit(static_cast<unsigned char>(rest[n]))) n++;
    if (n == 0 || (n == 2 && rest[0] > '5')) return false;
    rest.remove_prefix(n);
  }
  return rest.empty() || (rest[0] == '.' && all_of(rest.substr(1), "0123456789_"));
}

/// "2026-11-22", "2026-11-22T17:00:00Z".
bool timestamp(std::string_view t) {
  if (t.size() < 8 || !all_of(t.substr(0, 4), "0123456789") || t[4] != '-') return false;
  std::size_t i = 5;
  auto digits = [&](std::size_t most) {
    std::size_t n = 0;
    while (i < t.size() && n < most && isdigit(static_cast<unsigned char>(t[i]))) i++, n++;
    return n > 0;
  };
  if (!digits(2) || i >= t.size() || t[i++] != '-' || !digits(2)) return false;
  if (i == t.size()) return true;
  if (t[i] != 'T' && t[i] != 't' && t[i] != ' ') return false;
  i++;
  if (!digits(2) || i >= t.size() || t[i++] != ':' || !digits(2) || i >= t.size() || t[i++] != ':' || !digits(2)) return false;
  return true;
}

/// A plain scalar of this text would be read as something else than text.
bool other_type(std::string_view t) {
  static const char *const words[] = {"",   "~",  "null", "Null", "NULL", "y",    "Y",    "yes",   "Yes",   "YES",   "n",
                                      "N",  "no", "No",   "NO",   "true", "True", "TRUE", "false", "False", "FALSE", "on",
                                      "On", "ON", "off",  "Off",  "OFF",  "<<",   ".nan", ".NaN",  ".NAN"};
  for (auto *w : words)
    if (t == w) return true;
  return looks_like_number(t) || base60(t) || timestamp(t);
}

struct Traits {
  bool special = false, plain = true, single = true, block = true, broken = false;
};

Traits traits_of(std::string_view t) {
  Traits k;
  if (t.empty()) {
    k.plain = false;
    return k;
  }
  if (t.rfind("---", 0) == 0 || t.rfind("...", 0) == 0) k.plain = false;
  bool after_space = true, leading_space = t[0] == ' ', trailing_space = t.back() == ' ', break_space = false, space_break = false;
  for (std::size_t i = 0; i < t.size(); i++) {
    auto c = static_cast<unsigned char>(t[i]);
    bool before_space = i + 1 >= t.size() || strchr(" \t\n\r", t[i + 1]);
    if (i == 0) {
      if (strchr("#,[]{}&*!|>'\"%@`", c)) k.plain = false;
      if ((c == '-' || c == '?' || c == ':') && before_space) k.plain = false;
    } else {
      if (c == ':' && before_space) k.plain = false;
      if (c == '#' && after_space) k.plain = false;
    }
    if (c == '\n') k.broken = true;
    if ((c < 0x20 && c != '\n') || c == 0x7f) k.special = true;
    if (c == '\n' && i > 0 && t[i - 1] == ' ') space_break = true;
    if (c == ' ' && i > 0 && t[i - 1] == '\n') break_space = true;
    after_space = c == ' ' || c == '\t' || c == '\n' || c == '\r';
  }
  if (k.broken || leading_space || trailing_space || break_space) k.plain = false;
  if (t[0] == '\n' || t.back() == '\n') k.plain = false;
  if (trailing_space) k.block = false;
  if (break_space) k.single = false;
  if (space_break || k.special) k.plain = k.single = k.block = false;
  return k;
}

class Writer {
public:
  std::string out;

  void value(const json::value &v, std::string_view type, std::size_t indent, bool in_list) {
    if (!type.empty() && type[0] == '*') {
      if (v.is_null()) return line(" null");
      type.remove_prefix(1);
    }
    if (v.is_object() || (v.is_null() && is_map(type))) return map(v, type, indent, in_list);
    if (v.is_array() || (v.is_null() && !type.empty() && type[0] == '[')) return list(v, type, indent, in_list);
    scalar(v, type, indent);
  }

  void map(const json::value &v, std::string_view type, std::size_t indent, bool in_list) {
    if (v.is_null() || v.get_object().empty()) return line(" {}");
    auto &object = v.get_object();
    bool record = !shape_of(type).empty();
    std::vector<const json::key_value_pair *> entries;
    for (auto &e : object) entries.push_back(&e);
    if (!record) std::sort(entries.begin(), entries.end(), [](auto *a, auto *b) { return key_less(a->key(), b->key()); });
    auto inner = record ? std::string_view() : type.size() > 1 && type[0] == '{' ? type.substr(1) : std::string_view("a");
    bool first = true;
    // The first entry of a list's item stands beside its dash.
    if (!in_list && !out.empty() && out.back() != '\n') out += '\n';
    for (auto *e : entries) {
      if (first && in_list)
        out += ' ';
      else
        out.append(indent, ' ');
      first = false;
      text(e->key(), indent, true);
      out += ':';
      value(e->value(), record ? field_type(type, e->key()) : inner, indent + 2, false);
    }
  }

  void list(const json::value &v, std::string_view type, std::size_t indent, bool in_list) {
    if (v.is_null() || v.get_array().empty()) return line(" []");
    auto inner = type.size() > 1 && type[0] == '[' ? type.substr(1) : std::string_view("a");
    // A list below a key stands as far left as the key.
    std::size_t at = in_list ? indent : indent >= 2 ? indent - 2 : 0;
    if (!in_list && !out.empty() && out.back() != '\n') out += '\n';
    bool first = true;
    for (auto &item : v.get_array()) {
      if (first && in_list)
        out += ' ';
      else
        out.append(at, ' ');
      first = false;
      out += '-';
      value(item, inner, at + 2, true);
    }
  }

  void scalar(const json::value &v, std::string_view type, std::size_t indent) {
    switch (v.kind()) {
    case json::kind::null:
      return line(type == "s" ? " \"\"" : type == "b" ? " false" : type == "i" ? " 0" : " null");
    case json::kind::bool_:
      return line(v.get_bool() ? " true" : " false");
    case json::kind::int64:
      return line(fmt::format(" {}", v.get_int64()));
    case json::kind::uint64:
      return line(fmt::format(" {}", v.get_uint64()));
    case json::kind::double_:
      return line(" " + number(v.get_double()));
    default:
      break;
    }
    auto &s = v.get_string();
    if (type == "t") return line(" " + std::string(s));
    out += ' ';
    text(s, indent, false);
    out += '\n';
  }

  void text(std::string_view t, std::size_t indent, bool key) {
    auto k = traits_of(t);
    if (t.find('\n') != std::string_view::npos && !key && k.block) return literal(t, indent);
    if (!other_type(t) && k.plain) return folded(t, indent, key, 0);
    if (!other_type(t) && k.single && !k.broken) return folded(t, indent, key, '\'');
    quoted(t, indent, key);
  }

private:
  static bool is_map(std::string_view type) { return !type.empty() && (type[0] == '{' || !shape_of(type).empty()); }

  static std::string_view field_type(std::string_view type, std::string_view field) {
    auto shape = shape_of(type);
    while (!shape.empty()) {
      auto word = shape.substr(0, shape.find(' '));
      shape.remove_prefix(std::min(shape.size(), word.size() + 1));
      auto colon = word.find(':');
      auto name = word.substr(0, colon);
      if (!name.empty() && name.back() == '?') name.remove_suffix(1);
      if (name == field) return word.substr(colon + 1);
    }
    return "a";
  }

  static std::string number(double d) {
    auto s = fmt::format("{}", d);
    return s.size() > 2 && s.substr(s.size() - 2) == ".0" ? s.substr(0, s.size() - 2) : s;
  }

  void line(std::string_view t) { out.append(t).append("\n"); }

  std::size_t column() const {
    auto cut = out.rfind('\n');
    return cut == std::string::npos ? out.size() : out.size() - cut - 1;
  }
  void fold(std::size_t indent) { out.append("\n").append(indent, ' '); }

  /// Plain or in single quotes; long lines are folded at single spaces.
  void folded(std::string_view t, std::size_t indent, bool key, char quote) {
    if (quote) out += quote;
    for (std::size_t i = 0; i < t.size(); i++) {
      bool lone = t[i] == ' ' && i > 0 && i + 1 < t.size() && t[i - 1] != ' ' && t[i + 1] != ' ';
      if (lone && !key && column() > line_width)
        fold(indent);
      else {
        if (quote && t[i] == '\'') out += '\'';
        out += t[i];
      }
    }
    if (quote) out += quote;
  }

  void quoted(std::string_view t, std::size_t indent, bool key) {
    out += '"';
    bool spaced = false;
    for (std::size_t i = 0; i < t.size(); i++) {
      auto c = static_cast<unsigned char>(t[i]);
      if (c == ' ' && !spaced && !key && column() > line_width && i > 0 && i + 1 < t.size()) {
        fold(indent);
        if (t[i + 1] == ' ') out += '\\';
        spaced = true;
        continue;
      }
      spaced = c == ' ';
      switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\t':
        out += "\\t";
        break;
      case '\r':
        out += "\\r";
        break;
      case 0:
        out += "\\0";
        break;
      case 7:
        out += "\\a";
        break;
      case 8:
        out += "\\b";
        break;
      case 11:
        out += "\\v";
        break;
      case 12:
        out += "\\f";
        break;
      case 27:
        out += "\\e";
        break;
      default:
        if (c < 0x20 || c == 0x7f)
          out += fmt::format("\\x{:02X}", c);
        else
          out += static_cast<char>(c);
      }
    }
    out += '"';
  }

  void literal(std::string_view t, std::size_t indent) {
    out += '|';
    if (t[0] == ' ' || t[0] == '\n') out += '2';
    if (t.back() != '\n')
      out += '-';
    else if (t.size() == 1 || t[t.size() - 2] == '\n')
      out += '+';
    bool ended = t.back() == '\n';
    if (ended) t.remove_suffix(1);
    for (auto &l : split_text(t, '\n')) {
      out += '\n';
      if (!l.empty()) out.append(indent, ' ').append(l);
    }
  }
};

json::value node_value(const YAML::Node &node, std::string_view type, int depth);

json::value scalar_value(const YAML::Node &node, std::string_view type) {
  auto &t = node.Scalar();
  if (type == "s" || type == "t") return json::value(t);
  if (type == "b") {
    auto word = lower(t);
    for (auto *yes : {"true", "yes", "on", "y"})
      if (word == yes) return true;
    for (auto *no : {"false", "no", "off", "n"})
      if (word == no) return false;
    fail("yaml: unmarshal errors: cannot unmarshal `{}` into bool", t);
  }
  if (type == "i") {
    char *end = nullptr;
    auto n = std::strtoll(t.c_str(), &end, 0);
    if (t.empty() || *end) fail("yaml: unmarshal errors: cannot unmarshal `{}` into int", t);
    return n;
  }
  // Without a type: as a plain scalar reads, quoted ones stay text.
  if (node.Tag() == "!") return json::value(t);
  if (t == "true" || t == "True" || t == "yes" || t == "on") return true;
  if (t == "false" || t == "False" || t == "no" || t == "off") return false;
  if (t == "null" || t == "~" || t.empty()) return nullptr;
  if (looks_like_number(t)) {
    if (t.find_first_of(".eE") == std::string::npos || t.rfind("0x", 0) == 0) return std::strtoll(t.c_str(), nullptr, 0);
    return std::strtod(t.c_str(), nullptr);
  }
  return json::value(t);
}

json::value node_value(const YAML::Node &node, std::string_view type, int depth) {
  if (depth > 64) fail("yaml: the document is nested too deeply");
  if (!type.empty() && type[0] == '*') type.remove_prefix(1);
  if (!node.IsDefined() || node.IsNull()) {
    if (type == "s") return "";
    return nullptr;
  }
  auto shape = shape_of(type);
  if (!shape.empty() || (!type.empty() && type[0] == '{')) {
    if (!node.IsMap()) fail("yaml: unmarshal errors:\n  line {}: cannot unmarshal into a map", node.Mark().line + 1);
    json::object o;
    for (auto e : node) {
      auto key = e.first.Scalar();
      if (shape.empty()) {
        o[key] = node_value(e.second, type.substr(1), depth + 1);
        continue;
      }
      for (std::string_view rest = shape; !rest.empty();) {
        auto word = rest.substr(0, rest.find(' '));
        rest.remove_prefix(std::min(rest.size(), word.size() + 1));
        auto colon = word.find(':');
        auto name = word.substr(0, colon);
        if (!name.empty() && name.back() == '?') name.remove_suffix(1);
        if (name == key) {
          o[key] = node_value(e.second, word.substr(colon + 1), depth + 1);
          break;
        }
      }
    }
    return o;
  }
  if (!type.empty() && type[0] == '[') {
    if (!node.IsSequence()) fail("yaml: unmarshal errors:\n  line {}: cannot unmarshal into a list", node.Mark().line + 1);
    json::array a;
    for (auto e : node) a.push_back(node_value(e, type.substr(1), depth + 1));
    return a;
  }
  if (node.IsScalar()) return scalar_value(node, type);
  if (type != "a") fail("yaml: unmarshal errors:\n  line {}: a single value is wanted here", node.Mark().line + 1);
  if (node.IsSequence()) {
    json::array a;
    for (auto e : node) a.push_back(node_value(e, "a", depth + 1));
    return a;
  }
  json::object o;
  for (auto e : node) o[e.first.Scalar()] = node_value(e.second, "a", depth + 1);
  return o;
}

} // namespace

std::string to_yaml(const json::value &value, std::string_view type) {
  Writer w;
  if (value.is_object() || value.is_array() || (value.is_null() && !type.empty() && (type[0] == '[' || type[0] == '{'))) {
    w.value(value, type, 0, false);
    if (w.out.size() && w.out[0] == ' ') w.out.erase(0, 1);
    return w.out;
  }
  w.value(value, type, 0, false);
  return w.out.substr(w.out.empty() || w.out[0] != ' ' ? 0 : 1);
}

json::value from_yaml(const std::string &text, std::string_view type) {
  YAML::Node node;
  try {
    node = YAML::Load(text);
    return node_value(node, type, 0);
  } catch (const YAML::Exception &e) {
    fail("yaml: {}", e.what());
  }
}

} // namespace cli
