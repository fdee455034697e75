// SPDX-License-Identifier: Apache-2.0
#include "list_filter.hpp"

#include <arpa/inet.h>
#include <regex>
#include <strings.h>

#include "output.hpp"
#include "server.hpp"

namespace cli {

bool dotted_prefix(const std::string &shortened, const std::string &full) {
  auto a = split_text(shortened, '.'), b = split_text(full, '.');
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); i++)
    if (b[i].rfind(a[i], 0) != 0) return false;
  return true;
}

bool text_matches(const std::string &pattern, const std::string &text) {
  bool anchored = pattern.find_first_of("^$") != std::string::npos;
  try {
    return std::regex_search(text, std::regex(anchored ? pattern : "^(" + pattern + ")$"));
  } catch (const std::regex_error &) {
    return pattern == text;
  }
}

namespace {

bool same(const std::string &a, const std::string &b) { return strcasecmp(a.c_str(), b.c_str()) == 0; }

bool in_network(const std::string &address, const std::string &query) {
  if (address == query) return true;
  auto slash = query.find('/');
  if (slash == std::string::npos) return false;
  unsigned char a[16], q[16];
  int family = address.find(':') == std::string::npos ? AF_INET : AF_INET6;
  if (inet_pton(family, address.c_str(), a) != 1 || inet_pton(family, query.substr(0, slash).c_str(), q) != 1) return false;
  int bits = std::atoi(query.c_str() + slash + 1);
  if (bits < 0 || bits > (family == AF_INET ? 32 : 128)) return false;
  for (int i = 0; i < bits; i++)
    if ((a[i / 8] ^ q[i / 8]) & (0x80 >> (i % 8))) return false;
  return true;
}

bool by_address(const json::value &i, const std::string &query, const char *family) {
  for (auto &net : object_at(at(i, "state"), "network"))
    for (auto &a : array_at(net.value(), "addresses"))
      if (str(a, "family") == family && in_network(str(a, "address"), query)) return true;
  return false;
}

/// Nothing: no such word.
std::optional<bool> by_word(const json::value &i, const std::string &key, const std::string &value) {
  auto word = lower(key);
  if (word == "type" || word == "architecture" || word == "location") return same(str(i, word), value);
  if (word == "state" || word == "status") return same(str(i, "status"), value);
  if (word == "ipv4") return by_address(i, value, "inet");
  if (word == "ipv6") return by_address(i, value, "inet6");
  return std::nullopt;
}

bool by_key(const json::value &record, std::string_view field, const std::string &key, const std::string &value) {
  auto &config = object_at(record, field);
  if (auto *v = config.if_contains(key); v && v->is_string() && v->get_string() == value) return true;
  if (value.empty() && !config.if_contains(key)) {
    bool any = false;
    for (auto &e : config) any = any || dotted_prefix(key, std::string(e.key()));
    if (!any) return true;
  }
  for (auto &e : config)
    if (e.value().is_string() && dotted_prefix(key, std::string(e.key())) && text_matches(value, std::string(e.value().get_string()))) return true;
  return false;
}

} // namespace

bool instance_matches(const json::value &i, const Strings &filters) {
  for (auto &f : filters) {
    auto equals = f.find('=');
    if (equals == std::string::npos) {
      auto name = str(i, "name");
      if (!text_matches(f, name) && name.rfind(f, 0) != 0) return false;
      continue;
    }
    auto key = f.substr(0, equals), value = f.substr(equals + 1);
    bool known = false, hit = false;
    for (auto &v : split_text(value, ',')) {
      auto r = by_word(i, key, v);
      known = known || r.has_value();
      hit = hit || r.value_or(false);
    }
    if (known ? !hit : !by_key(i, "expanded_config", key, value)) return false;
  }
  return true;
}

bool image_matches(const json::value &image, const Strings &filters) {
  for (auto &f : filters) {
    auto equals = f.find('=');
    if (equals != std::string::npos) {
      auto key = f.substr(0, equals), value = f.substr(equals + 1);
      if (key == "type" || key == "architecture") {
        if (!same(str(image, key), value)) return false;
      } else if (!by_key(image, "properties", key, value)) {
        return false;
      }
      continue;
    }
    bool hit = str(image, "fingerprint").rfind(f, 0) == 0;
    for (auto &a : array_at(image, "aliases")) hit = hit || str(a, "name").find(f) != std::string::npos;
    if (!hit) return false;
  }
  return true;
}

} // namespace cli
