// SPDX-License-Identifier: Apache-2.0
// backup.yaml as text. Written by hand: it is written with every change of an instance, and may tell of a thousand snapshots.
#include "instance/backup_config.hpp"

#include <set>

#include <fmt/format.h>

#include "base/time.hpp"

namespace incus::instance {

namespace {

/// Words that need no quotes in any version of YAML; times are meant to be read as such.
bool plain(std::string_view s) {
  if (s.empty() || s.size() > 64) return false;
  if (!((s[0] >= 'a' && s[0] <= 'z') || (s[0] >= 'A' && s[0] <= 'Z'))) return false;
  for (char c : s)
    if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.')) return false;
  std::string lower;
  for (char c : s) lower += static_cast<char>(c >= 'A' && c <= 'Z' ? c + 32 : c);
  static const std::set<std::string, std::less<>> words{"true", "false", "yes", "no", "on", "off", "y", "n", "null"};
  return !words.count(lower);
}

class Text {
public:
  std::string out;

  void indent() { out.append(static_cast<std::size_t>(depth_) * 2, ' '); }
  static void scalar(std::string &to, std::string_view s) {
    if (plain(s)) {
      to += s;
      return;
    }
    to += '"';
    for (char c : s) {
      auto u = static_cast<unsigned char>(c);
      if (c == '"' || c == '\\')
        (to += '\\') += c;
      else if (c == '\n')
        to += "\\n";
      else if (u < 0x20 || u == 0x7f)
        to += fmt::format("\\x{:02x}", u);
      else
        to += c;
    }
    to += '"';
  }
  void start(std::string_view key) {
    if (first_) {
      first_ = false; // after "- "
    } else {
      indent();
    }
    scalar(out, key);
    out += ':';
  }
  void text(std::string_view key, std::string_view value) {
    start(key);
    out += ' ';
    scalar(out, value);
    out += '\n';
  }
  void flag(std::string_view key, bool value) { raw(key, value ? "true" : "false"); }
  void time(std::string_view key, Time t) { raw(key, base::format_time(t)); }
  void raw(std::string_view key, std::string_view value) {
    start(key);
    ((out += ' ') += value) += '\n';
  }
  void map(std::string_view key, const Config &c) {
    if (c.empty()) return raw(key, "{}");
    open(key);
    for (auto &[k, v] : c) text(k, v);
    close();
  }
  void devices(std::string_view key, const Devices &d) {
    if (d.empty()) return raw(key, "{}");
    open(key);
    for (auto &[name, config] : d) map(name, config);
    close();
  }
  void list(std::string_view key, const std::vector<std::string> &items) {
    if (items.empty()) return raw(key, "[]");
    start(key);
    out += '\n';
    for (auto &i : items) {
      indent();
      out += "- ";
      scalar(out, i);
      out += '\n';
    }
  }
  void open(std::string_view key) {
    start(key);
    out += '\n';
    depth_++;
  }
  void close() { depth_--; }
  void begin_list(std::string_view key) {
    start(key);
    out += '\n';
  }
  void item() {
    indent();
    out += "- ";
    depth_++;
    first_ = true;
  }

private:
  int depth_ = 0;
  bool first_ = false;
};

void write(Text &t, const BackupInstance &i) {
  auto &r = i.row;
  t.open("container");
  t.text("architecture", r.architecture);
  t.map("config", r.config);
  t.devices("devices", r.devices);
  t.flag("ephemeral", r.ephemeral);
  t.list("profiles", r.profiles);
  t.flag("stateful", r.stateful);
  t.text("description", r.description);
  t.time("created_at", r.created_at);
  t.map("expanded_config", i.expanded_config);
  t.devices("expanded_devices", i.expanded_devices);
  t.text("name", r.name);
  t.text("status", "Stopped");
  t.raw("status_code", "102");
  t.time("last_used_at", r.last_used_at);
  t.text("location", "none");
  t.text("type", i.type);
  t.text("project", r.project);
  t.close();
}

void write(Text &t, const db::SnapshotRow &s) {
  t.item();
  t.text("architecture", s.architecture);
  t.map("config", s.config);
  t.time("created_at", s.created_at);
  t.devices("devices", s.devices);
  t.flag("ephemeral", s.ephemeral);
  t.time("expires_at", s.expires_at);
  t.time("last_used_at", {});
  t.text("name", s.name);
  t.list("profiles", s.profiles);
  t.flag("stateful", s.stateful);
  t.text("description", s.description);
  t.close();
}

void write(Text &t, const BackupConfig &c) {
  if (c.instance) write(t, *c.instance);
  if (!c.snapshots.empty()) {
    t.begin_list("snapshots");
    for (auto &s : c.snapshots) write(t, s);
  }
  if (c.pool) {
    t.open("pool");
    t.map("config", c.pool->config);
    t.text("description", c.pool->description);
    t.text("name", c.pool->name);
    t.text("driver", c.pool->driver);
    t.list("used_by", {});
    t.text("status", "Created");
    t.list("locations", {"none"});
    t.close();
  }
  if (!c.profiles.empty()) {
    t.begin_list("profiles");
    for (auto &p : c.profiles) {
      t.item();
      t.map("config", p.config);
      t.text("description", p.description);
      t.devices("devices", p.devices);
      t.text("name", p.name);
      t.list("used_by", {});
      t.close();
    }
  }
  if (c.volume) {
    t.open("volume");
    t.map("config", c.volume->config);
    t.text("description", c.volume->description);
    t.text("name", c.volume->name);
    t.text("type", c.volume->type == 2 ? "custom" : "container");
    t.list("used_by", {});
    t.text("location", "none");
    t.text("content_type", c.volume_content);
    t.text("project", c.volume->project);
    t.time("created_at", c.volume->created_at);
    t.close();
  }
  if (!c.volume_snapshots.empty()) {
    t.begin_list("volume_snapshots");
    for (auto &s : c.volume_snapshots) {
      t.item();
      t.map("config", s.config);
      t.text("description", s.description);
      t.raw("expires_at", s.expires_text.empty() ? std::string("0001-01-01T00:00:00Z") : base::format_time(base::parse_time(s.expires_text)));
      t.text("name", s.name);
      t.text("content_type", c.volume_content);
      t.time("created_at", s.created_at);
      t.close();
    }
  }
}

} // namespace

std::string format_backup(const BackupConfig &c, std::int64_t id) {
  Text t;
  write(t, c);
  if (id) t.raw("libincus_id", std::to_string(id));
  return std::move(t.out);
}

std::string format_index(const BackupIndex &i) {
  Text t;
  t.text("name", i.name);
  t.text("backend", i.backend);
  t.text("pool", i.pool);
  if (!i.snapshots.empty()) t.list("snapshots", i.snapshots);
  t.flag("optimized", i.optimized);
  t.flag("optimized_header", i.optimized_header);
  t.text("type", i.type);
  t.open("config");
  write(t, i.config);
  t.close();
  return std::move(t.out);
}

} // namespace incus::instance
