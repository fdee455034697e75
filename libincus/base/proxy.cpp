// SPDX-License-Identifier: Apache-2.0
#include "base/proxy.hpp"

#include <arpa/inet.h>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "base/error.hpp"
#include "base/names.hpp"

namespace incus::base {

namespace {

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

std::string lowered(std::string_view s) {
  std::string out(s);
  for (auto &c : out) c = lower(c);
  return out;
}

std::string environment(std::initializer_list<const char *> names) {
  for (auto *n : names)
    if (const char *v = std::getenv(n); v && *v) return v;
  return {};
}

/// Bytes of an IP address, 4 or 16; IPv4 within IPv6 is IPv4.
std::string address_bytes(const std::string &text) {
  char b[16];
  if (::inet_pton(AF_INET, text.c_str(), b) == 1) return std::string(b, 4);
  if (::inet_pton(AF_INET6, text.c_str(), b) != 1) return {};
  static const char mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, '\xff', '\xff'};
  if (std::memcmp(b, mapped, 12) == 0) return std::string(b + 12, 4);
  return std::string(b, 16);
}

/// "ADDRESS/BITS" around the address.
bool in_network(const std::string &address, std::string_view network) {
  auto cut = network.find('/');
  if (address.empty() || cut == network.npos) return false;
  auto base = address_bytes(std::string(network.substr(0, cut)));
  auto digits = network.substr(cut + 1);
  unsigned bits = 0;
  auto [end, ec] = std::from_chars(digits.data(), digits.data() + digits.size(), bits);
  if (base.size() != address.size() || ec != std::errc() || end != digits.data() + digits.size() || bits > base.size() * 8) return false;
  if (std::memcmp(base.data(), address.data(), bits / 8) != 0) return false;
  if (bits % 8 == 0) return true;
  unsigned shift = 8 - bits % 8;
  return static_cast<unsigned char>(base[bits / 8]) >> shift == static_cast<unsigned char>(address[bits / 8]) >> shift;
}

/// An entry without white space around it, port and brackets.
std::string entry_host(std::string_view e) {
  while (!e.empty() && (e.front() == ' ' || e.front() == '\t')) e.remove_prefix(1);
  while (!e.empty() && (e.back() == ' ' || e.back() == '\t')) e.remove_suffix(1);
  if (e.starts_with('[')) {
    auto end = e.find(']');
    return lowered(end == e.npos ? e : e.substr(1, end - 1));
  }
  auto colon = e.find(':');
  bool with_port = colon != e.npos && e.find(':', colon + 1) == e.npos;
  return lowered(with_port ? e.substr(0, colon) : e);
}

std::string decoded(std::string_view s) {
  std::string out;
  auto digit = [](char c) { return c >= '0' && c <= '9' ? c - '0' : lower(c) >= 'a' && lower(c) <= 'f' ? lower(c) - 'a' + 10 : -1; };
  for (std::size_t i = 0; i < s.size(); i++) {
    if (s[i] == '%' && i + 2 < s.size() && digit(s[i + 1]) >= 0 && digit(s[i + 2]) >= 0) {
      out += static_cast<char>(digit(s[i + 1]) * 16 + digit(s[i + 2]));
      i += 2;
    } else {
      out += s[i];
    }
  }
  return out;
}

/// Without what may be a password.
std::string shown(std::string_view text) {
  auto at = text.rfind('@');
  auto scheme = text.find("://");
  auto from = scheme == text.npos ? 0 : scheme + 3;
  if (at == text.npos || at < from) return quoted(text);
  return quoted(std::string(text.substr(0, from)) + "..." + std::string(text.substr(at)));
}

} // namespace

Proxy parse_proxy(const std::string &text) {
  auto bad = [&](const char *why) { fail(ErrorCode::invalid_argument, "invalid proxy {}: {}; it is http://HOST:PORT or socks5://HOST:PORT", shown(text), why); };
  Proxy p;
  std::string_view rest = text;
  p.port = "80";
  if (auto cut = rest.find("://"); cut != rest.npos) {
    auto scheme = lowered(rest.substr(0, cut));
    if (scheme == "socks5" || scheme == "socks5h") {
      p.kind = Proxy::Kind::socks5;
      p.port = "1080";
    } else if (scheme == "https") {
      fail(ErrorCode::not_supported, "the proxy {} is spoken to over TLS, which is not supported: use one by http:// or socks5://", shown(text));
    } else if (scheme != "http") {
      bad("unknown scheme");
    }
    rest.remove_prefix(cut + 3);
  }
  for (unsigned char c : rest)
    if (c <= ' ' || c == 127) bad("it holds a blank or a control character");
  rest = rest.substr(0, rest.find_first_of("/?#"));
  if (auto at = rest.rfind('@'); at != rest.npos) {
    auto who = rest.substr(0, at);
    auto colon = who.find(':');
    p.user = decoded(who.substr(0, colon));
    if (colon != who.npos) p.password = decoded(who.substr(colon + 1));
    if (p.user.empty() || p.user.size() > 255 || p.password.size() > 255) bad("the user's name must have 1 to 255 characters, the password at most 255");
    if (p.kind == Proxy::Kind::http && p.user.find(':') != p.user.npos) bad("the user's name cannot hold \":\"");
    rest.remove_prefix(at + 1);
  }
  std::string_view port;
  if (rest.starts_with('[')) {
    auto end = rest.find(']');
    if (end == rest.npos) bad("\"[\" without \"]\"");
    p.host = rest.substr(1, end - 1);
    if (address_bytes(p.host).empty()) bad("what stands in brackets must be an IP address");
    port = rest.substr(end + 1);
  } else {
    auto colon = rest.find(':');
    if (colon != rest.npos && rest.find(':', colon + 1) != rest.npos) bad("an IPv6 address stands in brackets");
    p.host = rest.substr(0, colon);
    if (colon != rest.npos) port = rest.substr(colon);
  }
  if (p.host.empty() || p.host.find_first_of("\\\"'<>%") != p.host.npos) bad("it names no host");
  if (!port.empty()) {
    unsigned n = 0;
    auto [end, ec] = std::from_chars(port.data() + 1, port.data() + port.size(), n);
    if (port[0] != ':' || ec != std::errc() || end != port.data() + port.size() || n < 1 || n > 65535) bad("the port must be a number from 1 to 65535");
    p.port = std::to_string(n);
  }
  return p;
}

bool goes_direct(const std::string &wanted, std::string_view list) {
  auto host = lowered(wanted);
  auto address = address_bytes(host);
  if (host == "localhost" || (address.size() == 4 && address[0] == 127) || (address.size() == 16 && address == std::string(15, '\0') + '\1')) return true;
  if (list == "*") return true;
  while (!list.empty()) {
    auto cut = list.find(',');
    auto e = entry_host(list.substr(0, cut));
    list.remove_prefix(cut == list.npos ? list.size() : cut + 1);
    if (e.empty()) continue;
    if (host == e || in_network(address, e) || (!address.empty() && address_bytes(e) == address)) return true;
    // Names below a domain; an address is below nothing.
    if (!address.empty()) continue;
    if (e[0] == '.' ? host.ends_with(e) || host == e.substr(1) : host.size() > e.size() && host.ends_with("." + e)) return true;
  }
  return false;
}

std::optional<Proxy> proxy_for(const Proxies &set, std::string_view scheme, const std::string &host) {
  auto text = scheme == "https" ? set.https : set.http;
  if (text.empty()) text = scheme == "https" ? environment({"HTTPS_PROXY", "https_proxy"}) : environment({"HTTP_PROXY", "http_proxy"});
  if (text.empty()) return {};
  if (goes_direct(host, set.ignore_hosts.empty() ? environment({"NO_PROXY", "no_proxy"}) : set.ignore_hosts)) return {};
  return parse_proxy(text);
}

} // namespace incus::base
