// SPDX-License-Identifier: Apache-2.0
#include "output.hpp"
#include "server.hpp"

namespace cli {

namespace {

bool empty(const json::value &v) {
  switch (v.kind()) {
  case json::kind::null:
    return true;
  case json::kind::bool_:
    return !v.get_bool();
  case json::kind::int64:
    return v.get_int64() == 0;
  case json::kind::uint64:
    return v.get_uint64() == 0;
  case json::kind::double_:
    return v.get_double() == 0;
  case json::kind::string:
    return v.get_string().empty();
  case json::kind::array:
    return v.get_array().empty();
  case json::kind::object:
    return v.get_object().empty();
  }
  return true;
}

json::value absent(std::string_view type) {
  if (type == "s") return "";
  if (type == "b") return false;
  if (type == "i" || type == "f") return 0;
  if (type == "t") return "0001-01-01T00:00:00Z";
  if (!shape_of(type).empty()) return shaped(json::object(), type);
  return nullptr;
}

void write_json(std::string &out, const json::value &v, std::string_view type);

void write_text(std::string &out, std::string_view t) {
  auto s = json::serialize(json::string(t));
  // As Go escapes for HTML, which its encoder does unless told otherwise.
  for (char c : s) {
    if (c == '<' || c == '>' || c == '&')
      out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    else
      out += c;
  }
}

void write_json(std::string &out, const json::value &v, std::string_view type) {
  if (!type.empty() && type[0] == '*') type.remove_prefix(1);
  if (v.is_object()) {
    bool record = !shape_of(type).empty();
    std::vector<const json::key_value_pair *> entries;
    for (auto &e : v.get_object()) entries.push_back(&e);
    if (!record) std::sort(entries.begin(), entries.end(), [](auto *a, auto *b) { return a->key() < b->key(); });
    out += '{';
    for (auto *e : entries) {
      if (out.back() != '{') out += ',';
      write_text(out, e->key());
      out += ':';
      std::string_view inner = type.size() > 1 && type[0] == '{' ? type.substr(1) : std::string_view("a");
      if (record) {
        inner = "a";
        for (auto rest = shape_of(type); !rest.empty();) {
          auto word = rest.substr(0, rest.find(' '));
          rest.remove_prefix(std::min(rest.size(), word.size() + 1));
          auto colon = word.find(':');
          auto name = word.substr(0, colon);
          if (!name.empty() && name.back() == '?') name.remove_suffix(1);
          if (name == e->key()) inner = word.substr(colon + 1);
        }
      }
      write_json(out, e->value(), inner);
    }
    out += '}';
  } else if (v.is_array()) {
    auto inner = type.size() > 1 && type[0] == '[' ? type.substr(1) : std::string_view("a");
    out += '[';
    for (auto &e : v.get_array()) {
      if (out.back() != '[' || &e != &v.get_array().front()) out += ',';
      write_json(out, e, inner);
    }
    out += ']';
  } else if (v.is_string()) {
    write_text(out, v.get_string());
  } else if (v.is_double()) {
    out += fmt::format("{}", v.get_double());
  } else {
    out += json::serialize(v);
  }
}

} // namespace

json::value shaped(const json::value &value, std::string_view type) {
  if (!type.empty() && type[0] == '*') {
    if (value.is_null()) return nullptr;
    type.remove_prefix(1);
  }
  if (type.size() > 1 && type[0] == '[') {
    if (!value.is_array()) return nullptr;
    json::array out;
    for (auto &v : value.get_array()) out.push_back(shaped(v, type.substr(1)));
    return out;
  }
  if (type.size() > 1 && type[0] == '{') {
    if (!value.is_object()) return nullptr;
    json::object out;
    for (auto &e : value.get_object()) out[e.key()] = shaped(e.value(), type.substr(1));
    return out;
  }
  auto rest = shape_of(type);
  if (rest.empty()) return value.is_null() ? absent(type) : value;
  json::object out;
  while (!rest.empty()) {
    auto word = rest.substr(0, rest.find(' '));
    rest.remove_prefix(std::min(rest.size(), word.size() + 1));
    auto colon = word.find(':');
    auto name = word.substr(0, colon);
    auto inner = word.substr(colon + 1);
    bool optional = name.back() == '?';
    if (optional) name.remove_suffix(1);
    auto v = shaped(at(value, name), inner);
    if (optional && (empty(v) || (inner == "t" && v == absent("t")))) continue;
    out[name] = std::move(v);
  }
  return out;
}

std::string to_json(const json::value &value, std::string_view type) {
  std::string out;
  write_json(out, value, type);
  return out;
}

json::value parse_json(const std::string &text, std::string_view what) {
  if (text.empty()) return nullptr;
  boost::system::error_code error;
  auto v = json::parse(text, error);
  if (error) fail("{} is no JSON: {}", what, error.message());
  return v;
}

namespace {
void pretty(std::string &out, const json::value &v, std::size_t depth, bool sorted) {
  auto open = [&](std::size_t d) { out.append("\n").append(d, '\t'); };
  if (v.is_object() && !v.get_object().empty()) {
    std::vector<const json::key_value_pair *> entries;
    for (auto &e : v.get_object()) entries.push_back(&e);
    if (sorted) std::sort(entries.begin(), entries.end(), [](auto *a, auto *b) { return a->key() < b->key(); });
    out += '{';
    for (auto *e : entries) {
      if (e != entries.front()) out += ',';
      open(depth + 1);
      out += json::serialize(json::string(e->key())) + ": ";
      pretty(out, e->value(), depth + 1, sorted);
    }
    open(depth);
    out += '}';
  } else if (v.is_array() && !v.get_array().empty()) {
    out += '[';
    bool first = true;
    for (auto &e : v.get_array()) {
      if (!first) out += ',';
      first = false;
      open(depth + 1);
      pretty(out, e, depth + 1, sorted);
    }
    open(depth);
    out += ']';
  } else if (v.is_string()) {
    out += json::serialize(v);
  } else {
    write_json(out, v, "a");
  }
}
} // namespace

std::string pretty_json(const json::value &value, bool sorted) {
  std::string out;
  pretty(out, value, 0, sorted);
  return out;
}

} // namespace cli
