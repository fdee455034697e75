// SPDX-License-Identifier: Apache-2.0
#include "storage/config.hpp"

#include <charconv>
#include <filesystem>
#include <sys/stat.h>

#include "base/error.hpp"
#include "base/names.hpp"
#include "storage/custom.hpp"
#include "sys/fs.hpp"

namespace incus::storage {

using base::fail;

namespace {

std::string is_rate(std::string_view text) {
  return parse_rate(text) ? "" : "must be a number of KiB in a second, or one of bytes with its unit (kB, MB, GB, KiB, MiB, GiB)";
}

constexpr schema::Key keys[] = {
    {"rsync.bwlimit", "string", is_rate, "0", true, "How much is copied in a second from here to other pools: in KiB, or in bytes with a unit (10MB); 0: no limit."},
    {"source", "string", nullptr, "", false, "An existing empty directory that holds the pool, instead of storage-pools/NAME."},
    {"user.*", "string", nullptr, "", true, "Free for the user's own notes.", true},
    {"volume.*", "string", nullptr, "", true, "What custom volumes made here have where nothing else is said: volume.security.shifted and so on."},
};

/// A key's rule is broken.
[[noreturn]] void refuse(const std::string &value, const std::string &rule) {
  fail(ErrorCode::invalid_argument, "config key source, value {}: {}", base::quoted(value), rule);
}

bool path_is_directory(const std::filesystem::path &p) {
  struct stat st;
  return ::stat(p.c_str(), &st) == 0 && S_ISDIR(st.st_mode);
}

std::filesystem::path check_place(const std::string &value) {
  namespace fs = std::filesystem;
  if (value.empty() || value[0] != '/' || !base::is_one_line(value)) refuse(value, "must be an absolute path");
  std::error_code error;
  fs::path real = fs::canonical(value, error);
  if (error || !path_is_directory(real)) refuse(value, "must be an existing directory");
  if (real == "/") refuse(value, "must not be the root directory");
  // Inside another pool a guest, or that pool's removal, would reach it.
  for (fs::path at = real; at != at.root_path(); at = at.parent_path())
    if (path_is_directory(at.parent_path() / "containers") && path_is_directory(at.parent_path() / "containers-snapshots") && path_is_directory(at.parent_path() / "images"))
      refuse(value, fmt::format("must not lie in the storage pool {}", base::quoted(at.parent_path().string())));
  return real;
}

void check_source(const std::string &value) {
  auto names = sys::list_directory(sys::open_directory(check_place(value)).get());
  // What mkfs makes.
  std::erase(names, "lost+found");
  if (!names.empty()) refuse(value, fmt::format("must be empty, but holds {}", base::quoted(names[0])));
}

} // namespace

std::optional<std::uint64_t> parse_rate(std::string_view text) noexcept {
  if (!schema::is_size(text).empty()) return std::nullopt;
  auto n = static_cast<std::uint64_t>(schema::parse_size(text));
  bool plain = text.find_first_not_of("0123456789") == text.npos;
  if (n > std::uint64_t(1) << 50) return std::nullopt;
  return plain ? n * 1024 : n;
}

std::span<const schema::Key> pool_keys() noexcept { return keys; }

void validate_pool(const Config &config) {
  validate_pool(config, {});
  if (auto it = config.find("source"); it != config.end() && !it->second.empty()) check_source(it->second);
}

void check_pool_place(const std::string &source) {
  auto real = check_place(source);
  if (!path_is_directory(real / "containers") && !path_is_directory(real / "custom")) refuse(source, "holds no storage pool: neither a directory containers nor custom is in it");
}

void validate_pool(const Config &config, std::span<const schema::Key> own) {
  for (auto &[name, value] : config) {
    auto *key = schema::find(own, name);
    if (!key) key = schema::find(keys, name);
    if (!key || name.starts_with("volume.user.")) { // notes are each volume's own
      std::string known;
      for (auto list : {own, pool_keys()})
        for (auto &k : list) known += (known.empty() ? "" : ", ") + std::string(k.name);
      fail(ErrorCode::invalid_argument, "config key {} is not known for storage pools of this driver; known are {}", base::quoted(name), known);
    }
    if (value.find('\0') != std::string::npos) fail(ErrorCode::invalid_argument, "config key {}: the value may not hold NUL", base::quoted(name));
    if (!name.starts_with("user.") && !base::is_one_line(value)) fail(ErrorCode::invalid_argument, "config key {}: the value must be one line", base::quoted(name));
    if (auto broken = key->check && !value.empty() ? key->check(value) : std::string(); !broken.empty())
      fail(ErrorCode::invalid_argument, "config key {}, value {}: {}", name, base::quoted(value), broken);
    if (name.starts_with("volume.")) CustomVolumes::validate("of the pool", {{name.substr(7), value}}, false, std::nullopt);
  }
}

} // namespace incus::storage
