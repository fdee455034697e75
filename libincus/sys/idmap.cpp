// SPDX-License-Identifier: Apache-2.0
#include "sys/idmap.hpp"

#include <algorithm>
#include <boost/json.hpp>
#include <charconv>
#include <fstream>
#include <iterator>
#include <map>
#include <optional>
#include <vector>

#include "base/error.hpp"
#include "base/names.hpp"

namespace incus::sys {

using base::fail;
using base::quoted;

namespace {

constexpr std::uint64_t id_limit = 4294967295u; // (uid_t)-1 means "none"
constexpr std::uint32_t default_slice = 65536;
/// What the kernel takes in uid_map.
constexpr std::size_t max_lines = 340;

std::optional<std::uint64_t> number(std::string_view text) {
  std::uint64_t v = 0;
  auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), v);
  if (text.empty() || ec != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return v;
}

std::vector<std::string_view> split(std::string_view text, std::string_view separators, bool keep_empty = false) {
  std::vector<std::string_view> parts;
  while (true) {
    auto at = text.find_first_of(separators);
    auto part = text.substr(0, at);
    if (keep_empty || !part.empty()) parts.push_back(part);
    if (at == std::string_view::npos) return parts;
    text.remove_prefix(at + 1);
  }
}

/// The largest range of root in one of the files.
bool largest(std::string_view text, std::uint32_t &base, std::uint32_t &count) {
  bool found = false;
  for (auto line : split(text, "\n")) {
    auto f = split(line, ":", true);
    if (f.size() != 3 || (f[0] != "root" && f[0] != "0")) continue;
    auto b = number(f[1]), c = number(f[2]);
    if (!b || !c || *b == 0 || *c == 0 || *b + *c > id_limit) continue;
    if (found && *c <= count) continue;
    base = static_cast<std::uint32_t>(*b);
    count = static_cast<std::uint32_t>(*c);
    found = true;
  }
  return found;
}

std::string slurp(const char *path) {
  std::ifstream f(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(f), {}};
}

bool truthy(const Config &c, const char *key) {
  auto it = c.find(key);
  if (it == c.end()) return false;
  std::string v = it->second;
  std::transform(v.begin(), v.end(), v.begin(), [](unsigned char ch) { return static_cast<char>(std::tolower(ch)); });
  return v == "true" || v == "1" || v == "yes" || v == "on";
}

std::string_view text(const Config &c, const char *key) {
  auto it = c.find(key);
  return it == c.end() ? std::string_view() : std::string_view(it->second);
}

struct Raw {
  bool uid, gid;
  std::uint64_t host, guest, count;
};

bool overlap(std::uint64_t a, std::uint64_t a_count, std::uint64_t b, std::uint64_t b_count) { return a < b + b_count && b < a + a_count; }

/// "7" or "7-9" as first id and count.
std::optional<std::pair<std::uint64_t, std::uint64_t>> id_range(std::string_view t) {
  auto dash = t.find('-');
  auto a = number(t.substr(0, dash));
  auto b = dash == std::string_view::npos ? a : number(t.substr(dash + 1));
  if (!a || !b || *b < *a || *b >= id_limit) return std::nullopt;
  return std::make_pair(*a, *b - *a + 1);
}

/// The lines of raw.idmap; a broken rule goes to `why`.
std::vector<Raw> parse_raw(std::string_view value, std::string &why) {
  std::vector<Raw> out;
  for (auto line : split(value, "\n")) {
    auto f = split(line, " \t\r");
    if (f.empty()) continue;
    auto bad = [&](std::string rule) {
      why = fmt::format("line {}: {}", base::quoted(line), rule);
      return std::vector<Raw>();
    };
    if (f.size() != 3) return bad("must be \"uid|gid|both HOST GUEST\"");
    if (f[0] != "uid" && f[0] != "gid" && f[0] != "both") return bad("must begin with uid, gid or both");
    auto host = id_range(f[1]), guest = id_range(f[2]);
    if (!host || !guest) return bad("ids are numbers 0..4294967294 or ranges A-B of them");
    if (host->second != guest->second) return bad("both ranges must be of the same length");
    Raw r{f[0] != "gid", f[0] != "uid", host->first, guest->first, host->second};
    for (auto &o : out) {
      if (!((o.uid && r.uid) || (o.gid && r.gid))) continue;
      if (overlap(o.guest, o.count, r.guest, r.count)) return bad("a guest id is mapped twice");
      if (overlap(o.host, o.count, r.host, r.count)) return bad("a host id is mapped twice");
    }
    out.push_back(r);
  }
  if (out.size() > max_lines / 3) why = fmt::format("holds {} lines, at most {} are possible", out.size(), max_lines / 3);
  return out;
}

struct Slice {
  std::uint64_t base, count;
};

/// One kind's map: the slice with holes where raw lines take guest ids.
void add_kind(IdMap &map, bool uid, Slice slice, const std::vector<Raw> &raw, const std::string &value) {
  std::vector<Raw> mine;
  for (auto &r : raw)
    if (uid ? r.uid : r.gid) mine.push_back(r);
  for (auto &r : mine)
    if (overlap(r.host, r.count, slice.base, slice.count))
      fail(ErrorCode::invalid_argument, "config key raw.idmap, value {}: host {} {} lies in the range {}-{} that the instance's map uses; take one outside of it",
           base::quoted(value), uid ? "uid" : "gid", r.host, slice.base, slice.base + slice.count - 1);
  std::sort(mine.begin(), mine.end(), [](const Raw &a, const Raw &b) { return a.guest < b.guest; });
  auto range = [&](std::uint64_t host, std::uint64_t guest, std::uint64_t count) {
    map.push_back({uid, !uid, static_cast<std::uint32_t>(host), static_cast<std::uint32_t>(guest), static_cast<std::uint32_t>(count)});
  };
  std::uint64_t next = 0;
  for (auto &r : mine) {
    if (next < slice.count && r.guest > next) range(slice.base + next, next, std::min(r.guest, slice.count) - next);
    range(r.host, r.guest, r.count);
    next = std::max(next, r.guest + r.count);
  }
  if (next < slice.count) range(slice.base + next, next, slice.count - next);
}

/// The part of a root's range that another instance's map takes.
void collect(const IdMap &map, bool uid, std::vector<Slice> &used) {
  for (auto &r : map)
    if (uid ? r.uid : r.gid) used.push_back({r.host, r.count});
}

std::uint64_t slice_size(const Config &c) {
  auto v = text(c, "security.idmap.size");
  if (v.empty() || v == "auto") return default_slice;
  auto n = number(v);
  if (!n || *n == 0 || *n >= id_limit) fail(ErrorCode::invalid_argument, "config key security.idmap.size, value {}: must be a number 1..4294967294", base::quoted(v));
  return *n;
}

/// Where an isolated instance's slice begins: the same for users and groups.
std::uint64_t slice_base(const Config &c, std::uint64_t size, std::span<const IdMap> in_use, const IdRanges &r) {
  std::uint64_t low = std::max(r.uid_base, r.gid_base);
  std::uint64_t high = std::min(std::uint64_t(r.uid_base) + r.uid_count, std::uint64_t(r.gid_base) + r.gid_count);
  if (auto v = text(c, "security.idmap.base"); !v.empty()) {
    auto base = number(v);
    if (!base || *base < low || *base + size > high)
      fail(ErrorCode::invalid_argument, "config key security.idmap.base, value {}: {} ids from there on must lie in root's range {}-{} of /etc/subuid and /etc/subgid",
           base::quoted(v), size, low, high ? high - 1 : 0);
    return *base;
  }
  std::vector<Slice> used;
  for (auto &m : in_use) {
    collect(m, true, used);
    collect(m, false, used);
  }
  std::sort(used.begin(), used.end(), [](const Slice &a, const Slice &b) { return a.base < b.base; });
  std::uint64_t at = low + default_slice;
  for (auto &u : used)
    if (overlap(at, size, u.base, u.count)) at = u.base + u.count;
  if (at + size > high)
    fail(ErrorCode::no_space, "no {} ids are free for security.idmap.isolated in root's range {}-{}; extend root's line in /etc/subuid and /etc/subgid", size, low,
         high ? high - 1 : 0);
  return at;
}

} // namespace

IdRanges parse_subids(std::string_view subuid, std::string_view subgid) {
  IdRanges r;
  bool u = largest(subuid, r.uid_base, r.uid_count), g = largest(subgid, r.gid_base, r.gid_count);
  // One file without a line: the other's range serves for both kinds.
  if (u && !g) {
    r.gid_base = r.uid_base;
    r.gid_count = r.uid_count;
  } else if (g && !u) {
    r.uid_base = r.gid_base;
    r.uid_count = r.gid_count;
  }
  return r;
}

IdRanges host_id_ranges() { return parse_subids(slurp("/etc/subuid"), slurp("/etc/subgid")); }

bool slices_meet(const IdMap &a, const IdMap &b) noexcept {
  // All lines of a slice lie equally far from the guest's ids.
  auto distance = [](const IdMap &m) {
    std::map<std::int64_t, std::uint64_t> counts;
    for (auto &r : m) counts[std::int64_t(r.host) - r.guest] += r.count;
    auto most = std::max_element(counts.begin(), counts.end(), [](auto &x, auto &y) { return x.second < y.second; });
    return most == counts.end() ? 0 : most->first;
  };
  auto of_a = distance(a), of_b = distance(b);
  for (auto &x : a)
    for (auto &y : b)
      if (std::int64_t(x.host) - x.guest == of_a && std::int64_t(y.host) - y.guest == of_b && overlap(x.host, x.count, y.host, y.count)) return true;
  return false;
}

std::string check_raw_idmap(std::string_view value) {
  std::string why;
  parse_raw(value, why);
  return why;
}

IdMap choose_idmap(const Config &c, std::span<const IdMap> in_use, const IdRanges &ranges) {
  if (truthy(c, "security.privileged")) return {};
  std::string raw_text(text(c, "raw.idmap")), why;
  auto raw = parse_raw(raw_text, why);
  if (!why.empty()) fail(ErrorCode::invalid_argument, "config key raw.idmap: {}", why);
  Slice users{ranges.uid_base, ranges.uid_count}, groups{ranges.gid_base, ranges.gid_count};
  if (truthy(c, "security.idmap.isolated")) {
    std::uint64_t size = slice_size(c), base = slice_base(c, size, in_use, ranges);
    users = groups = {base, size};
  }
  IdMap map;
  add_kind(map, true, users, raw, raw_text);
  add_kind(map, false, groups, raw, raw_text);
  return map;
}

IdMap choose_idmap(const Config &expanded, std::span<const IdMap> in_use) { return choose_idmap(expanded, in_use, host_id_ranges()); }

std::string format_idmap(const IdMap &map) {
  std::string out = "[";
  for (auto &r : map) {
    if (out.size() > 1) out += ',';
    out += fmt::format(R"({{"Isuid":{},"Isgid":{},"Hostid":{},"Nsid":{},"Maprange":{}}})", r.uid, r.gid, r.host, r.guest, r.count);
  }
  return out + "]";
}

IdMap idmap_of(const std::map<std::string, std::string> &config, const std::string &key) {
  auto it = config.find(key);
  return it == config.end() ? IdMap{} : parse_idmap(it->second);
}

IdMap parse_idmap(std::string_view json) {
  IdMap map;
  if (json.empty()) return map;
  try {
    auto document = boost::json::parse(boost::json::string_view(json.data(), json.size()));
    for (auto &v : document.as_array()) {
      auto &o = v.as_object();
      auto id = [&](const char *key) {
        auto n = o.at(key).to_number<std::int64_t>();
        if (n < 0 || n >= static_cast<std::int64_t>(id_limit)) throw std::out_of_range(key);
        return static_cast<std::uint32_t>(n);
      };
      IdRange r{o.at("Isuid").as_bool(), o.at("Isgid").as_bool(), id("Hostid"), id("Nsid"), id("Maprange")};
      if (std::uint64_t(r.host) + r.count > id_limit || std::uint64_t(r.guest) + r.count > id_limit) throw std::out_of_range("Maprange");
      map.push_back(r);
    }
  } catch (const std::exception &e) {
    fail(ErrorCode::corrupt, "id map {} cannot be read ({})", base::quoted(json), e.what());
  }
  return map;
}

std::int64_t to_host(const IdMap &map, std::uint32_t guest, bool uid) noexcept {
  if (map.empty()) return guest;
  for (auto &r : map)
    if ((uid ? r.uid : r.gid) && guest >= r.guest && guest - r.guest < r.count) return std::int64_t(r.host) + (guest - r.guest);
  return -1;
}

std::int64_t to_guest(const IdMap &map, std::uint32_t host, bool uid) noexcept {
  if (map.empty()) return host;
  for (auto &r : map)
    if ((uid ? r.uid : r.gid) && host >= r.host && host - r.host < r.count) return std::int64_t(r.guest) + (host - r.host);
  return -1;
}

} // namespace incus::sys
