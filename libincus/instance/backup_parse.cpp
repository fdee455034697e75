// SPDX-License-Identifier: Apache-2.0
#include <set>
#include <yaml-cpp/yaml.h>

#include "base/error.hpp"
#include "base/names.hpp"
#include "base/time.hpp"
#include "image/image.hpp"
#include "image/yaml.hpp"
#include "instance/backup_config.hpp"

namespace incus::instance {

namespace {

constexpr std::size_t max_size = 8 << 20, max_values = 1'000'000;

/// Reads one document; every refusal names where it stands.
class Reader {
public:
  explicit Reader(const char *what) : what_(what) {}

  template <class... A> [[noreturn]] void refuse(const YAML::Node &n, fmt::format_string<A...> f, A &&...a) const {
    auto m = n.Mark();
    base::fail(ErrorCode::corrupt, "{} line {}: {}", what_, m.is_null() ? 1 : m.line + 1, fmt::format(f, std::forward<A>(a)...));
  }

  std::string text(const YAML::Node &n, const char *key) const {
    auto v = n[key];
    if (!v.IsDefined() || v.IsNull()) return "";
    if (!v.IsScalar()) refuse(v, "{} must be a text", key);
    if (v.Scalar().find('\0') != std::string::npos) refuse(v, "{} holds a NUL byte", key);
    return v.Scalar();
  }
  bool flag(const YAML::Node &n, const char *key) const {
    auto t = text(n, key);
    if (!t.empty() && t != "true" && t != "false") refuse(n[key], "{} {} must be true or false", key, base::quoted(t));
    return t == "true";
  }
  Time time(const YAML::Node &n, const char *key) const {
    auto t = text(n, key);
    if (t.empty()) return {};
    try {
      return base::parse_time(t);
    } catch (const Error &) {
      refuse(n[key], "{} {} is no time", key, base::quoted(t));
    }
  }
  Config config(const YAML::Node &n, const std::string &key) const {
    Config out;
    each(n, key, [&](const std::string &k, const YAML::Node &v) {
      if (!v.IsScalar() && !v.IsNull()) refuse(v, "{} of {} must be a text", base::quoted(k), key);
      auto t = v.IsNull() ? std::string() : v.Scalar();
      if (t.find('\0') != std::string::npos) refuse(v, "{} of {} holds a NUL byte", base::quoted(k), key);
      if (!t.empty()) out[k] = t;
    });
    return out;
  }
  Devices devices(const YAML::Node &n, const std::string &key) const {
    Devices out;
    each(n, key, [&](const std::string &k, const YAML::Node &) { out[k] = config(n[key], k); });
    return out;
  }
  std::vector<std::string> list(const YAML::Node &n, const char *key) const {
    std::vector<std::string> out;
    for (auto v : sequence(n, key)) {
      if (!v.IsScalar()) refuse(v, "an entry of {} must be a text", key);
      out.push_back(v.Scalar());
    }
    return out;
  }
  YAML::Node sequence(const YAML::Node &n, const char *key) const {
    auto v = n[key];
    if (!v.IsDefined() || v.IsNull()) return YAML::Node(YAML::NodeType::Sequence);
    if (!v.IsSequence()) refuse(v, "{} must be a list", key);
    return v;
  }
  /// Undefined when it is not there.
  YAML::Node map(const YAML::Node &n, const char *key) const {
    auto v = n[key];
    if (!v.IsDefined() || v.IsNull()) return YAML::Node(YAML::NodeType::Undefined);
    if (!v.IsMap()) refuse(v, "{} must be a map", key);
    return v;
  }
  void must_be_map(const YAML::Node &n, const char *what) const {
    if (!n.IsMap()) refuse(n, "{} must be a map", what);
  }

private:
  template <class F> void each(const YAML::Node &n, const std::string &key, F f) const {
    auto v = n[key];
    if (!v.IsDefined() || v.IsNull()) return;
    if (!v.IsMap()) refuse(v, "{} must be a map", base::quoted(key));
    std::set<std::string> seen;
    for (auto it = v.begin(); it != v.end(); ++it) {
      if (!it->first.IsScalar()) refuse(it->first, "a key of {} must be a text", base::quoted(key));
      auto k = it->first.Scalar();
      if (k.empty() || k.size() > 255 || !base::is_one_line(k) || k.find('\0') != std::string::npos) refuse(it->first, "key {} of {} must be a line of 1 to 255 bytes", base::quoted(k), base::quoted(key));
      if (!seen.insert(k).second) refuse(it->first, "key {} of {} comes twice", base::quoted(k), base::quoted(key));
      f(k, it->second);
    }
  }
  const char *what_;
};

std::string architecture(const Reader &r, const YAML::Node &n) {
  auto name = r.text(n, "architecture"), known = image::canonical_architecture(name);
  if (known.empty()) r.refuse(n, "architecture {} is not known", base::quoted(name));
  return known;
}

BackupInstance instance_of(const Reader &r, const YAML::Node &n) {
  BackupInstance i;
  i.row.architecture = architecture(r, n);
  i.row.config = r.config(n, "config");
  i.row.devices = r.devices(n, "devices");
  i.row.ephemeral = r.flag(n, "ephemeral");
  i.row.profiles = r.list(n, "profiles");
  i.row.stateful = r.flag(n, "stateful");
  i.row.description = r.text(n, "description");
  i.row.created_at = r.time(n, "created_at");
  i.row.last_used_at = r.time(n, "last_used_at");
  i.row.name = r.text(n, "name");
  i.row.project = r.text(n, "project");
  i.expanded_config = r.config(n, "expanded_config");
  i.expanded_devices = r.devices(n, "expanded_devices");
  if (auto type = r.text(n, "type"); !type.empty()) i.type = type;
  return i;
}

BackupConfig config_of(const Reader &r, const YAML::Node &n) {
  BackupConfig c;
  if (auto v = r.map(n, "container"); v.IsDefined()) c.instance = instance_of(r, v);
  for (auto v : r.sequence(n, "snapshots")) {
    r.must_be_map(v, "a snapshot");
    db::SnapshotRow s;
    s.architecture = architecture(r, v);
    s.config = r.config(v, "config");
    s.created_at = r.time(v, "created_at");
    s.devices = r.devices(v, "devices");
    s.ephemeral = r.flag(v, "ephemeral");
    s.expires_at = r.time(v, "expires_at");
    s.name = r.text(v, "name");
    // Earlier versions wrote it with its instance.
    if (auto cut = s.name.find('/'); cut != std::string::npos) s.name.erase(0, cut + 1);
    s.profiles = r.list(v, "profiles");
    s.stateful = r.flag(v, "stateful");
    s.description = r.text(v, "description");
    c.snapshots.push_back(std::move(s));
  }
  if (auto v = r.map(n, "pool"); v.IsDefined()) {
    db::PoolRow p;
    p.config = r.config(v, "config");
    p.description = r.text(v, "description");
    p.name = r.text(v, "name");
    p.driver = r.text(v, "driver");
    c.pool = std::move(p);
  }
  for (auto v : r.sequence(n, "profiles")) {
    r.must_be_map(v, "a profile");
    db::ProfileRow p;
    p.name = r.text(v, "name");
    p.description = r.text(v, "description");
    p.config = r.config(v, "config");
    p.devices = r.devices(v, "devices");
    c.profiles.push_back(std::move(p));
  }
  if (auto v = r.map(n, "volume"); v.IsDefined()) {
    db::VolumeFull f;
    f.config = r.config(v, "config");
    f.description = r.text(v, "description");
    f.name = r.text(v, "name");
    f.project = r.text(v, "project");
    f.created_at = r.time(v, "created_at");
    f.type = r.text(v, "type") == "custom" ? 2 : 0;
    if (auto content = r.text(v, "content_type"); !content.empty()) c.volume_content = content;
    c.volume = std::move(f);
  }
  for (auto v : r.sequence(n, "volume_snapshots")) {
    r.must_be_map(v, "a volume snapshot");
    db::VolumeSnapshotRow s;
    s.name = r.text(v, "name");
    if (auto cut = s.name.find('/'); cut != std::string::npos) s.name.erase(0, cut + 1);
    s.description = r.text(v, "description");
    s.config = r.config(v, "config");
    if (auto t = r.time(v, "expires_at"); t != Time{}) s.expires_text = base::format_time(t);
    s.created_at = r.time(v, "created_at");
    c.volume_snapshots.push_back(std::move(s));
  }
  return c;
}

} // namespace

BackupConfig parse_backup(const std::string &yaml) {
  Reader r("backup.yaml");
  auto n = image::load_yaml("backup.yaml", yaml, max_size, max_values);
  r.must_be_map(n, "the document");
  auto c = config_of(r, n);
  auto id = r.text(n, "libincus_id");
  if (c.instance && !id.empty() && id.size() < 16 && id.find_first_not_of("0123456789") == std::string::npos) c.instance->row.id = std::stoll(id);
  return c;
}

BackupIndex parse_index(const std::string &yaml) {
  Reader r("backup/index.yaml");
  auto n = image::load_yaml("backup/index.yaml", yaml, max_size, max_values);
  r.must_be_map(n, "the document");
  BackupIndex i;
  i.name = r.text(n, "name");
  i.backend = r.text(n, "backend");
  i.pool = r.text(n, "pool");
  i.snapshots = r.list(n, "snapshots");
  for (auto &s : i.snapshots)
    if (auto cut = s.find('/'); cut != std::string::npos) s.erase(0, cut + 1);
  i.optimized = r.flag(n, "optimized");
  i.optimized_header = r.flag(n, "optimized_header");
  if (auto type = r.text(n, "type"); !type.empty()) i.type = type;
  auto c = r.map(n, "config");
  if (!c.IsDefined()) base::fail(ErrorCode::corrupt, "Backup file is missing required information: backup/index.yaml has no config, it was made by a version that is too old");
  i.config = config_of(r, c);
  return i;
}

} // namespace incus::instance
