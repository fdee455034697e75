// SPDX-License-Identifier: Apache-2.0
#include "embed/patches.hpp"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <optional>
#include <set>
#include <unistd.h>

#include "base/error.hpp"
#include "base/time.hpp"
#include "db/dump.hpp"
#include "db/volumes.hpp"
#include "sys/copy.hpp"
#include "sys/fault.hpp"
#include "sys/fs.hpp"

namespace incus::embed {

namespace {

constexpr std::size_t largest_patch = 16 << 20;

/// Never 0, the mark of a store that no patch was applied to.
std::int64_t mark_of(const std::string &text) {
  std::uint32_t h = 2166136261u;
  for (unsigned char c : text) h = (h ^ c) * 16777619u;
  return std::max<std::int64_t>(1, h & 0x7fffffff);
}

int schema_of(db::Connection &c) {
  std::int64_t have = 0;
  bool exists = false;
  c.query("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'schema'", {}, [&](const db::Row &) { exists = true; });
  if (exists) c.query("SELECT coalesce(max(version), 0) FROM schema", {}, [&](const db::Row &r) { have = r.number(0); });
  return static_cast<int>(have);
}

/// Copies the files of `from` that `only` names into a new directory NAME~new of `to`, durably. A copy that a crash cut short is replaced.
void copy_files(int from, int to, const std::string &name, const std::function<bool(const char *)> &only) {
  auto fresh = name + "~new";
  sys::remove_tree(to, fresh);
  auto dir = sys::make_directory(to, fresh, 0700);
  sys::CopyOptions o;
  o.threads = 1;
  o.only = only;
  sys::copy_tree(from, dir.get(), o);
  sys::sync_tree(dir.get());
}

class Store {
public:
  Store(int dir, const std::string &path, const char *name, const std::vector<db::Step> &steps, const base::Log &log)
      : dir_(dir), path_(path), name_(name), patch_(std::string("patch.") + name + ".sql"), steps_(steps), log_(log) {}

  std::unique_ptr<db::Connection> open() {
    auto file = is_global() ? path_ + "/global/db.bin" : path_ + "/local.db";
    text_ = sys::read_file_if_exists(dir_, patch_, largest_patch);
    auto c = db::open_sqlite(file);
    int have = schema_of(*c);
    if (have > 0 && (text_ || have < steps_.back().number)) {
      // What the log beside the file holds goes into the file, so that the copy is one whole file.
      c->checkpoint();
      back_up();
    }
    if (text_) return patched(std::move(c), have);
    db::upgrade(*c, steps_, what());
    return c;
  }

private:
  bool is_global() const { return std::string(name_) == "global"; }
  std::string what() const { return fmt::format("the {} store of {}", name_, path_); }

  void back_up() {
    sys::FaultScope fault("back up store");
    // Only the store: whatever else lies there was not put there by us.
    if (is_global()) {
      auto from = sys::open_child(dir_, "global");
      copy_files(from.get(), dir_, "global.bak", [](const char *n) { return std::string(n).starts_with("db.bin"); });
      sys::remove_tree(dir_, "global.bak");
      sys::rename_at(dir_, "global.bak~new", dir_, "global.bak");
    } else {
      copy_files(dir_, dir_, "local.db.bak", [](const char *n) { return std::string(n) == "local.db"; });
      auto made = sys::open_child(dir_, "local.db.bak~new");
      sys::rename_at(made.get(), "local.db", dir_, "local.db.bak", true);
      sys::remove_tree(dir_, "local.db.bak~new");
    }
    sys::sync_directory(dir_);
  }

  std::unique_ptr<db::Connection> patched(std::unique_ptr<db::Connection> c, int have) {
    auto mark = mark_of(*text_);
    try {
      if (db::patch_mark(*c) != mark) {
        // A patch comes before the steps, so that it can remove what one of them stumbles over.
        c->transaction([&] {
          if (!have) db::upgrade(*c, steps_, what());
          c->statements(*text_);
          db::upgrade(*c, steps_, what());
          db::set_patch_mark(*c, mark);
        });
        log_.info("applied {}/{}", path_, patch_);
      } else {
        db::upgrade(*c, steps_, what());
      }
    } catch (const Error &e) {
      throw Error(e.code(), fmt::format("{}/{} cannot be applied, nothing was changed: correct it, or remove it", path_, patch_), e);
    }
    {
      sys::FaultScope fault("remove patch");
      if (::unlinkat(dir_, patch_.c_str(), 0) != 0 && errno != ENOENT) base::fail_errno(errno, fmt::format("cannot remove {}/{}", path_, patch_));
      sys::sync_directory(dir_);
    }
    // The same statements may be given once more.
    db::set_patch_mark(*c, 0);
    return c;
  }

  int dir_;
  std::string path_;
  const char *name_;
  std::string patch_;
  const std::vector<db::Step> &steps_;
  const base::Log &log_;
  std::optional<std::string> text_;
};

struct Once {
  const char *name;
  void (*run)(db::Connection &global); ///< null: true of every store of this library
};
// Names that tools for Incus look for. Who takes the second one away has snapshots of instances and of their volumes brought together again.
constexpr Once once[] = {{"dnsmasq_entries_include_device_name", nullptr}, {"storage_missing_snapshot_records", db::repair_snapshot_rows}};

} // namespace

void open_stores(const std::string &directory, const base::Log &log, std::unique_ptr<db::Connection> &global, std::unique_ptr<db::Connection> &local) {
  auto path = directory + "/database";
  auto dir = sys::open_directory(path);
  global = Store(dir.get(), path, "global", db::global_steps(), log).open();
  local = Store(dir.get(), path, "local", db::local_steps(), log).open();
}

void run_once(db::Connection &global, db::Connection &local, const base::Log &log) {
  std::set<std::string> have;
  local.query("SELECT name FROM patches", {}, [&](const db::Row &r) { have.insert(r.text(0)); });
  for (auto &o : once) {
    if (have.count(o.name)) continue;
    if (o.run) global.transaction([&] { o.run(global); });
    local.exec("INSERT INTO patches (name, applied_at) VALUES (?, ?)", {std::string(o.name), base::format_time(base::now())});
    log.debug("patch {} applied", o.name);
  }
}

} // namespace incus::embed
