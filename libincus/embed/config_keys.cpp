// SPDX-License-Identifier: Apache-2.0
#include "embed/config_keys.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <charconv>
#include <ctime>

#include "base/error.hpp"
#include "base/names.hpp"
#include "base/proxy.hpp"
#include "db/records.hpp"
#include "image/image.hpp"

namespace incus::embed {

using schema::Key;

namespace {

bool number(std::string_view v, long least, long most, long &out) {
  auto [end, ec] = std::from_chars(v.data(), v.data() + v.size(), out);
  return ec == std::errc() && end == v.data() + v.size() && out >= least && out <= most;
}

bool is_ip(std::string_view v) {
  unsigned char buffer[16];
  std::string t(v);
  return ::inet_pton(AF_INET, t.c_str(), buffer) == 1 || ::inet_pton(AF_INET6, t.c_str(), buffer) == 1;
}

bool is_host(std::string_view v) {
  if (is_ip(v)) return true;
  return !v.empty() && v.size() <= 253 &&
         std::all_of(v.begin(), v.end(), [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.'; });
}

/// HOST, HOST:PORT, [IPV6]:PORT, IPV6 or :PORT.
std::string is_listen_address(std::string_view v) {
  const char *rule = "must be ADDRESS, ADDRESS:PORT, [IPV6]:PORT or :PORT";
  if (is_ip(v)) return {};
  std::string_view host = v, port;
  if (v.starts_with('[')) {
    auto end = v.find(']');
    if (end == std::string_view::npos) return rule;
    host = v.substr(1, end - 1);
    if (!is_ip(host)) return rule;
    if (end + 1 == v.size()) return {};
    if (v[end + 1] != ':') return rule;
    port = v.substr(end + 2);
  } else if (auto colon = v.rfind(':'); colon != std::string_view::npos) {
    host = v.substr(0, colon);
    port = v.substr(colon + 1);
    if (!host.empty() && !is_host(host)) return rule;
  } else {
    return is_host(v) ? "" : rule;
  }
  long n;
  return number(port, 0, 65535, n) ? "" : rule;
}

std::string is_address_list(std::string_view v) {
  for (;;) {
    auto cut = v.find(',');
    auto one = v.substr(0, cut);
    while (one.starts_with(' ')) one.remove_prefix(1);
    while (one.ends_with(' ')) one.remove_suffix(1);
    if (!is_ip(one)) return "must be a list of IP addresses separated by commas";
    if (cut == std::string_view::npos) return {};
    v.remove_prefix(cut + 1);
  }
}

std::string is_span(std::string_view v) {
  return time_after(Time{} + std::chrono::hours(24), v) ? "" : "must be a span of time such as \"1H 30M\" or \"2d\" (units S, M, H, d, w, m, y)";
}

std::string is_compression(std::string_view v) {
  try {
    image::check_compression(std::string(v));
    return {};
  } catch (const Error &) {
    return "must be none, bzip2, gzip, lz4, lzma, xz or zstd, and may have a level, as in \"zstd -7\"";
  }
}

std::string is_architecture(std::string_view v) {
  try {
    db::architecture_id(std::string(v));
    return {};
  } catch (const Error &) {
    return "must be an architecture such as x86_64 or aarch64";
  }
}

std::string is_host_name_mode(std::string_view v) { return v == "random" || v == "mac" ? "" : "must be random or mac"; }

// Sorted by name; what the daemon of Incus knows too, with the same meaning.
constexpr Key global_table[] = {
    {"backups.compression_algorithm", "string", is_compression, "gzip", true, "Compression of new backups"},
    {"core.https_allowed_credentials", "bool", schema::is_bool, "false", true, "Whether browsers of other origins may send credentials"},
    {"core.https_allowed_headers", "string", nullptr, "", true, "Access-Control-Allow-Headers of HTTPS answers"},
    {"core.https_allowed_methods", "string", nullptr, "", true, "Access-Control-Allow-Methods of HTTPS answers"},
    {"core.https_allowed_origin", "string", nullptr, "", true, "Origin that browsers may come from (Access-Control-Allow-Origin)"},
    {"core.https_trusted_proxy", "string", is_address_list, "", true, "Proxies that may name the client's address by the PROXY protocol"},
    {"core.metrics_authentication", "bool", schema::is_bool, "true", true, "Whether /1.0/metrics is only for trusted certificates"},
    {"core.proxy_http", "string", nullptr, "", true, "Proxy for http:// requests. Unset: HTTP_PROXY of the environment; images come by https:// alone, so core.proxy_https is the one that counts"},
    {"core.proxy_https", "string", nullptr, "", true, "Proxy for https:// requests: http://[USER:PASSWORD@]HOST:PORT or socks5://HOST:PORT. Unset: HTTPS_PROXY of the environment"},
    {"core.proxy_ignore_hosts", "string", nullptr, "", true, "Hosts, domains, addresses and networks that need no proxy, separated by commas. Unset: NO_PROXY of the environment"},
    {"core.remote_token_expiry", "string", is_span, "", true, "How long a new trust token is good; unset: until it is used"},
    {"core.shutdown_timeout", "integer", schema::is_uint32, "5", true, "Minutes to wait for operations when the daemon ends"},
    {"core.trust_ca_certificates", "bool", schema::is_bool, "false", true, "Whether every certificate that server.ca signed is trusted"},
    {"images.auto_update_cached", "bool", schema::is_bool, "true", true, "Whether images that are fetched for instances are kept up to date"},
    {"images.auto_update_interval", "integer", schema::is_int, "6", true, "Hours between updates of images that are kept up to date; 0: never"},
    {"images.compression_algorithm", "string", is_compression, "gzip", true, "Compression of new images"},
    {"images.default_architecture", "string", is_architecture, "", true, "Architecture for new instances that name none, among cluster members of several kinds. A server alone has no such choice"},
    {"images.remote_cache_expiry", "integer", schema::is_int, "10", true, "Days after which an unused cached image is removed; 0: never"},
    {"instances.lxcfs.per_instance", "bool", schema::is_bool, "false", true, "Whether every container gets an lxcfs of its own"},
    {"instances.nic.host_name", "string", is_host_name_mode, "random", true, "How the host's end of a new interface is named: random, or mac"},
    {"user.*", "string", nullptr, "", true, "Free text of users; what begins with user.ui. is also shown to untrusted clients", true},
};

constexpr Key local_table[] = {
    {"core.debug_address", "string", is_listen_address, "", true, "Address of the debugging listener"},
    {"core.https_address", "string", is_listen_address, "", true, "Address of the HTTPS listener; unset: none"},
    {"core.metrics_address", "string", is_listen_address, "", true, "Address of a listener that serves only metrics"},
    {"core.syslog_socket", "bool", schema::is_bool, "false", true, "Whether a socket takes log lines of network services"},
    {"storage.backups_volume", "string", nullptr, "", true, "POOL/VOLUME for backups"},
    {"storage.images_volume", "string", nullptr, "", true, "POOL/VOLUME for images"},
};

constexpr Key project_table[] = {
    {"backups.compression_algorithm", "string", is_compression, "", true, "Compression of new backups in the project"},
    {"features.images", "bool", schema::is_bool, "false", true, "Whether the project has images and image aliases of its own"},
    {"features.networks", "bool", schema::is_bool, "false", true, "Whether the project has networks of its own"},
    {"features.networks.zones", "bool", schema::is_bool, "false", true, "Whether the project has network zones of its own"},
    {"features.profiles", "bool", schema::is_bool, "false", true, "Whether the project has profiles of its own"},
    {"features.storage.buckets", "bool", schema::is_bool, "false", true, "Whether the project has storage buckets of its own"},
    {"features.storage.volumes", "bool", schema::is_bool, "false", true, "Whether the project has custom volumes of its own"},
    {"images.auto_update_cached", "bool", schema::is_bool, "", true, "Whether images that are fetched for instances of the project are kept up to date"},
    {"images.auto_update_interval", "integer", schema::is_int, "", true, "Hours between updates of images that are kept up to date; 0: never"},
    {"images.compression_algorithm", "string", is_compression, "", true, "Compression of new images in the project"},
    {"images.default_architecture", "string", is_architecture, "", true, "Architecture for new instances that name none, among cluster members of several kinds. A server alone has no such choice"},
    {"images.remote_cache_expiry", "integer", schema::is_int, "", true, "Days after which an unused cached image is removed"},
    {"limits.containers", "integer", schema::is_uint32, "", true, "Most containers of the project"},
    {"limits.instances", "integer", schema::is_uint32, "", true, "Most instances of the project"},
    {"restricted", "bool", schema::is_bool, "false", true, "Whether the restricted.* keys hold"},
    {"user.*", "string", nullptr, "", true, "Free text of users", true},
};

constexpr Feature features[] = {
    {"features.images", true, false},          {"features.networks", false, false},       {"features.networks.zones", false, true},
    {"features.profiles", true, false},        {"features.storage.buckets", true, true},  {"features.storage.volumes", true, false},
};

/// Key families of Incus that this server does not act on: a value that would be ignored is refused.
constexpr const char *absent_server[] = {"acme.",    "authorization.",     "cluster.",        "core.bgp_",     "core.dns_address",       "core.storage_buckets_address",
                                         "loki.",    "network.",           "oidc.",           "openfga.",      "instances.placement."};
constexpr const char *absent_project[] = {"limits.", "restricted."};

template <std::size_t N> void refuse_absent(const Config &config, const char *const (&absent)[N], std::initializer_list<std::span<const Key>> known, const char *where) {
  for (auto &[k, v] : config) {
    if (v.empty() || std::any_of(known.begin(), known.end(), [&key = k](auto keys) { return schema::find(keys, key) != nullptr; })) continue;
    for (auto *prefix : absent)
      if (k.starts_with(prefix))
        base::fail(ErrorCode::not_supported, "configuration key {} of {} is not supported by this server: it would have no effect, leave it unset", base::quoted(k), where);
  }
}

/// Without the values that unset a key of a family refused above.
template <std::size_t N> Config without_unset(const Config &config, const char *const (&absent)[N]) {
  Config out = config;
  std::erase_if(out, [&](auto &kv) { return kv.second.empty() && std::any_of(std::begin(absent), std::end(absent), [&](auto *p) { return kv.first.starts_with(p); }); });
  return out;
}

} // namespace

std::span<const Key> server_keys() noexcept { return global_table; }
std::span<const Key> local_server_keys() noexcept { return local_table; }
std::span<const Key> project_keys() noexcept { return project_table; }
std::span<const Feature> project_features() noexcept { return features; }

void validate_server_config(const Config &config) {
  refuse_absent(config, absent_server, {global_table, local_table}, "the server");
  for (auto *key : {"storage.backups_volume", "storage.images_volume"})
    if (auto it = config.find(key); it != config.end() && !it->second.empty())
      base::fail(ErrorCode::not_supported, "cannot set {} to {}: backups and images on a volume are not supported yet", key, base::quoted(it->second));
  // One table for hints on misspelt names.
  static const auto all = [] {
    std::vector<Key> keys(std::begin(global_table), std::end(global_table));
    keys.insert(keys.end(), std::begin(local_table), std::end(local_table));
    return keys;
  }();
  schema::validate(all, without_unset(config, absent_server), "the server");
  for (auto *key : {"core.proxy_http", "core.proxy_https"})
    if (auto it = config.find(key); it != config.end() && !it->second.empty()) try {
        base::parse_proxy(it->second);
      } catch (const Error &e) {
        base::fail(e.code(), "cannot set {}: {}", key, e.what());
      }
  for (auto *key : {"core.debug_address", "core.https_trusted_proxy", "core.syslog_socket", "instances.lxcfs.per_instance", "instances.nic.host_name"}) {
    auto it = config.find(key);
    if (it == config.end() || it->second.empty()) continue;
    bool usual = schema::find(all, key)->type == std::string_view("bool") ? !schema::truthy(it->second) : it->second == schema::find(all, key)->fallback;
    if (!usual) base::fail(ErrorCode::not_supported, "cannot set {} to {}: this server does not act on it yet, leave it unset", key, base::quoted(it->second));
  }
}

void validate_project_config(const Config &config, const std::string &name) {
  auto what = "project " + base::quoted(name);
  refuse_absent(config, absent_project, {project_table}, what.c_str());
  schema::validate(project_table, without_unset(config, absent_project), what);
  if (schema::truthy(schema::value(project_table, config, "restricted")))
    base::fail(ErrorCode::not_supported, "configuration key \"restricted\" of {} is not supported by this server yet: nothing would be restricted, leave it unset", what);
}

std::optional<Time> time_after(Time from, std::string_view span) {
  auto seconds = std::chrono::duration_cast<std::chrono::seconds>(from.time_since_epoch()).count();
  std::time_t t = seconds;
  std::tm tm{};
  ::gmtime_r(&t, &tm);
  bool any = false;
  while (!span.empty()) {
    if (span.front() == ' ') {
      span.remove_prefix(1);
      continue;
    }
    auto digits = std::min(span.find_first_not_of("0123456789"), span.size());
    long n;
    if (digits == 0 || digits == span.size() || !number(span.substr(0, digits), 0, 100000000, n)) return std::nullopt;
    int count = static_cast<int>(n);
    char unit = span[digits];
    int *field = unit == 'S' ? &tm.tm_sec : unit == 'M' ? &tm.tm_min : unit == 'H' ? &tm.tm_hour : unit == 'd' || unit == 'w' ? &tm.tm_mday : unit == 'm' ? &tm.tm_mon : unit == 'y' ? &tm.tm_year : nullptr;
    if (!field || (unit != 'S' && n > 1000000)) return std::nullopt;
    *field += unit == 'w' ? 7 * count : count;
    any = true;
    span.remove_prefix(digits + 1);
    if (!span.empty() && span.front() != ' ') return std::nullopt;
  }
  if (!any) return std::nullopt;
  auto end = ::timegm(&tm);
  if (end < seconds || end > 9000000000) return std::nullopt;
  return Time(std::chrono::seconds(end));
}

} // namespace incus::embed
