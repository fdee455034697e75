// SPDX-License-Identifier: Apache-2.0
#include "object.hpp"

namespace cli {

const Flag property_get{Flag::toggle, "property", 'p', "", "Get the key as a property of the object"};
const Flag property_set{Flag::toggle, "property", 'p', "", "Set the key as a property of the object"};
const Flag property_unset{Flag::toggle, "property", 'p', "", "Unset the key as a property of the object"};
const Flag target_flag{Flag::text, "target", 0, "", "Cluster member name"};
const Flag format_flag{Flag::text, "format", 'f', "table",
                       "Format (csv|json|table|yaml|compact), \",noheader\" leaves the header out, \",header\" adds it to csv"};
const Flag all_projects_flag{Flag::toggle, "all-projects", 0, "", "Display objects from all projects"};

std::string_view type_of_field(std::string_view record, std::string_view field) {
  for (auto rest = shape_of(record); !rest.empty();) {
    auto word = rest.substr(0, rest.find(' '));
    rest.remove_prefix(std::min(rest.size(), word.size() + 1));
    auto colon = word.find(':');
    auto name = word.substr(0, colon);
    if (!name.empty() && name.back() == '?') name.remove_suffix(1);
    if (name == field) return word.substr(colon + 1);
  }
  return {};
}

json::value writable(const json::value &record, std::string_view put) { return shaped(record, put); }

void show_object(const Object &o) { print(to_yaml(shaped(o.server->get(o.path), o.type), o.type)); }

namespace {
std::string commented(std::string_view help) {
  std::string out;
  for (auto &line : split_text(help, '\n')) out += "### " + line + "\n";
  return out + "\n";
}
} // namespace

void edit_object(const Object &o, std::string_view help, const Strings &without) {
  std::string etag, text;
  if (is_terminal(0)) {
    auto now = shaped(o.server->get(o.path, &etag), o.type);
    for (auto &field : without) now.as_object().erase(field);
    text = commented(help) + to_yaml(now, o.type);
  }
  edit_loop(text, [&](const std::string &edited) { o.server->finish("PUT", o.path, shaped(from_yaml(edited, o.put), o.put), etag); });
}

std::string go_value(const json::value &v, std::string_view type) {
  if (!type.empty() && type[0] == '[') {
    Strings parts;
    if (v.is_array())
      for (auto &e : v.get_array()) parts.push_back(go_value(e, type.substr(1)));
    return "[" + join(parts, " ") + "]";
  }
  if (!type.empty() && type[0] == '{') {
    std::map<std::string, std::string> sorted;
    if (v.is_object())
      for (auto &e : v.get_object()) sorted[e.key()] = go_value(e.value(), type.substr(1));
    Strings parts;
    for (auto &[k, t] : sorted) parts.push_back(k + ":" + t);
    return "map[" + join(parts, " ") + "]";
  }
  if (type == "t") {
    auto t = v.is_string() ? std::string(v.get_string()) : "0001-01-01T00:00:00Z";
    auto at = t.find('T');
    if (at != std::string::npos) t[at] = ' ';
    if (t.ends_with("Z")) t = t.substr(0, t.size() - 1) + " +0000 UTC";
    return t;
  }
  if (v.is_string()) return std::string(v.get_string());
  if (v.is_null()) return type == "b" ? "false" : type == "i" ? "0" : "";
  return json::serialize(v);
}

void get_key(Context &c, const Object &o, const std::string &key, bool expanded) {
  auto now = o.server->get(o.path);
  if (c.flag("property")) {
    auto type = type_of_field(o.put, lower(key));
    if (type.empty()) fail("The property \"{}\" does not exist on {}: The property with tag \"{}\" does not exist", key, o.label, key);
    say("{}\n", go_value(at(now, lower(key)), type));
    return;
  }
  say("{}\n", str(at(now, expanded ? "expanded_config" : "config"), key));
}

std::vector<std::pair<std::string, std::string>> pairs_of(const Strings &args) {
  std::vector<std::pair<std::string, std::string>> out;
  auto value = [](const std::string &text) { return text == "-" && !is_terminal(0) ? piped_input().value_or("") : text; };
  if (args.size() == 2 && args[0].find('=') == std::string::npos) return {{args[0], value(args[1])}};
  for (auto &a : args) {
    auto [k, v] = key_value(a, "Invalid key=value configuration");
    out.emplace_back(k, value(v));
  }
  return out;
}

namespace {

json::value property_value(const std::string &text, std::string_view type) {
  if (type == "b") {
    auto t = lower(text);
    if (t == "1" || t == "t" || t == "true") return true;
    if (t == "0" || t == "f" || t == "false") return false;
    fail("Error setting properties: Invalid boolean value: {}", text);
  }
  if (type == "i") {
    char *end = nullptr;
    auto n = std::strtoll(text.c_str(), &end, 10);
    if (text.empty() || *end) fail("Error setting properties: strconv.Atoi: parsing \"{}\": invalid syntax", text);
    return n;
  }
  if (type == "[s") {
    json::array a;
    for (auto &w : split_text(text, ','))
      if (!w.empty()) a.emplace_back(w);
    return a;
  }
  if (type == "{s" || type == "{{s") fail("Error setting properties: a map cannot be set as a property");
  return json::value(text);
}

} // namespace

void change_object(const Object &o, const std::function<void(json::value &, const json::value &)> &change) {
  std::string etag;
  auto now = o.server->get(o.path, &etag);
  auto put = shaped(now, o.put);
  change(put, now);
  o.server->finish("PUT", o.path, put, etag);
}

void set_keys(Context &c, const Object &o, const Strings &args, bool unset) {
  bool property = c.flag("property");
  change_object(o, [&](json::value &put, const json::value &) {
    if (unset) {
      for (auto &key : args) {
        if (property) {
          auto type = type_of_field(o.put, lower(key));
          if (type.empty()) fail("Error unsetting properties: The property with tag \"{}\" does not exist", key);
          auto clean = shaped(json::object(), o.put);
          put.as_object()[lower(key)] = at(clean, lower(key));
          continue;
        }
        auto &config = make_object(put, "config");
        if (!config.if_contains(key)) fail("Can't unset key '{}', it's not currently set", key);
        config.erase(key);
      }
      return;
    }
    for (auto &[key, value] : pairs_of(args)) {
      if (!property) {
        make_object(put, "config")[key] = value;
        continue;
      }
      auto type = type_of_field(o.put, lower(key));
      if (type.empty()) fail("Error setting properties: The property with tag \"{}\" does not exist", key);
      put.as_object()[lower(key)] = property_value(value, type);
    }
  });
}

} // namespace cli
