// SPDX-License-Identifier: Apache-2.0
// Storage drivers that keep volumes and snapshots as trees in memory.
#include <map>
#include <mutex>

#include "base/error.hpp"
#include "base/names.hpp"
#include "mock/mock.hpp"
#include "storage/config.hpp"

namespace incus::mock {

namespace {

using storage::VolumeRef;
using storage::VolumeType;

constexpr std::uint64_t volume_bytes = 1 << 20;
constexpr std::uint64_t pool_bytes = std::uint64_t{1} << 40, pool_inodes = 1 << 26;

using Tree = std::shared_ptr<files::Vfs>;

struct Volume {
  Tree tree;
  std::map<std::string, Tree> snapshots;
  Tree restoring; ///< waits for restore_commit()
};

struct MemoryContent : storage::Content {
  Tree tree;
};

class MemoryDriver : public storage::Driver, public storage::SnapshotOps, public Trees {
public:
  explicit MemoryDriver(const storage::DriverContext &c) : pool_(c.pool), directory_(c.directory) {}

  void create() override {}

  void remove() override {
    std::lock_guard lock(mutex_);
    for (auto &[ref, v] : volumes_)
      if (ref.first != VolumeType::image) base::fail(ErrorCode::conflict, "pool {} cannot be removed: {} is on it; delete it first", base::quoted(pool_), base::quoted(ref.second));
    volumes_.clear();
  }

  StoragePoolResources resources() override {
    std::lock_guard lock(mutex_);
    std::uint64_t n = volumes_.size();
    for (auto &[ref, v] : volumes_) n += v.snapshots.size();
    StoragePoolResources r;
    r.space = {n * volume_bytes, pool_bytes};
    r.inodes = {n, pool_inodes};
    return r;
  }

  bool exists(const VolumeRef &vol) override {
    std::lock_guard lock(mutex_);
    return volumes_.count(id(vol)) != 0;
  }

  std::vector<std::string> list(VolumeType type) override {
    std::lock_guard lock(mutex_);
    std::vector<std::string> out;
    for (auto &[ref, v] : volumes_)
      if (ref.first == type) out.push_back(ref.second);
    return out;
  }

  Tree tree(const VolumeRef &vol) override {
    std::lock_guard lock(mutex_);
    return get(vol).tree;
  }

  void create_empty(const VolumeRef &vol) override {
    std::lock_guard lock(mutex_);
    add(vol, make_tree(false));
  }

  void create_image(const VolumeRef &image, const std::function<void(int)> &) override {
    std::lock_guard lock(mutex_);
    add(image, make_tree(true));
  }

  void create_from_image(const VolumeRef &vol, const VolumeRef &image, const storage::Progress &) override {
    std::lock_guard lock(mutex_);
    add(vol, copy_tree(get(image).tree));
  }

  void create_copy(const VolumeRef &vol, const VolumeRef &source, const std::optional<std::string> &snapshot, const storage::Progress &) override {
    std::lock_guard lock(mutex_);
    auto &from = get(source);
    if (snapshot) need(from, source, *snapshot);
    add(vol, copy_tree(snapshot ? from.snapshots.at(*snapshot) : from.tree));
  }

  void create_from_backup(const VolumeRef &, bool, const std::function<void(int, int)> &) override { no_files(); }
  std::string snapshot_place(const VolumeRef &, const std::string &) override { no_files(); }
  storage::RootfsPlan snapshot_root(const VolumeRef &, const std::string &) override { no_files(); }
  std::unique_ptr<storage::Content> open_content(const VolumeRef &vol, const std::optional<std::string> &snapshot) override {
    std::lock_guard lock(mutex_);
    auto &from = get(vol);
    if (snapshot) need(from, vol, *snapshot);
    auto c = std::make_unique<MemoryContent>();
    c->tree = snapshot ? from.snapshots.at(*snapshot) : from.tree;
    return c;
  }

  void create_from_content(const VolumeRef &vol, const storage::Content &content, const storage::Progress &) override {
    std::lock_guard lock(mutex_);
    add(vol, copy_tree(tree_of(content)));
  }

  void remove_volume(const VolumeRef &vol) override {
    std::lock_guard lock(mutex_);
    volumes_.erase(id(vol));
  }

  void rename(const VolumeRef &vol, const std::string &new_name) override {
    std::lock_guard lock(mutex_);
    auto to = std::pair(vol.type, new_name);
    auto it = volumes_.find(id(vol));
    if (it == volumes_.end()) {
      if (!volumes_.count(to)) get(vol); // throws
      return;                            // done already
    }
    if (volumes_.count(to)) exists_already(new_name);
    auto node = volumes_.extract(it);
    node.key() = to;
    volumes_.insert(std::move(node));
  }

  storage::RootfsPlan rootfs(const VolumeRef &vol) override {
    std::lock_guard lock(mutex_);
    get(vol);
    storage::RootfsPlan p;
    p.path = fmt::format("{}/{}/{}/rootfs", directory_, storage::volume_directory(vol.type), vol.name); // nothing is there
    return p;
  }

  std::string directory(const VolumeRef &vol) override { return fmt::format("{}/{}/{}", directory_, storage::volume_directory(vol.type), vol.name); }

  std::uint64_t usage(const VolumeRef &vol) override {
    std::lock_guard lock(mutex_);
    get(vol);
    return volume_bytes;
  }

  int open_volume(const VolumeRef &vol) override {
    base::fail(ErrorCode::not_supported, "volume {} of pool {} has no files: this is a test host in memory", base::quoted(vol.name), base::quoted(pool_));
  }

  void shift(const VolumeRef &vol, const storage::IdMap &, const storage::IdMap &) override {
    std::lock_guard lock(mutex_);
    get(vol);
  }

  storage::SnapshotOps *snapshots() override { return this; }

  // Snapshots.
  void create(const VolumeRef &vol, const std::string &snapshot, const storage::Progress &) override {
    std::lock_guard lock(mutex_);
    auto &v = get(vol);
    if (!v.snapshots.emplace(snapshot, copy_tree(v.tree)).second) exists_already(vol.name + "/" + snapshot);
  }

  void copy(const VolumeRef &vol, const VolumeRef &source, const std::string &snapshot, const storage::Progress &) override {
    std::lock_guard lock(mutex_);
    auto &from = get(source);
    need(from, source, snapshot);
    if (!get(vol).snapshots.emplace(snapshot, copy_tree(from.snapshots.at(snapshot))).second) exists_already(vol.name + "/" + snapshot);
  }

  void remove(const VolumeRef &vol, const std::string &snapshot) override {
    std::lock_guard lock(mutex_);
    if (auto it = volumes_.find(id(vol)); it != volumes_.end()) it->second.snapshots.erase(snapshot);
  }

  void rename(const VolumeRef &vol, const std::string &snapshot, const std::string &new_name) override {
    std::lock_guard lock(mutex_);
    auto &v = get(vol);
    if (!v.snapshots.count(snapshot)) {
      if (!v.snapshots.count(new_name)) need(v, vol, snapshot); // throws
      return;                                                   // done already
    }
    if (v.snapshots.count(new_name)) exists_already(vol.name + "/" + new_name);
    auto node = v.snapshots.extract(snapshot);
    node.key() = new_name;
    v.snapshots.insert(std::move(node));
  }

  std::vector<std::string> list(const VolumeRef &vol) override {
    std::lock_guard lock(mutex_);
    auto it = volumes_.find(id(vol));
    if (it == volumes_.end()) return {};
    std::vector<std::string> out;
    for (auto &[name, tree] : it->second.snapshots) out.push_back(name);
    return out;
  }

  std::uint64_t usage(const VolumeRef &vol, const std::string &snapshot) override {
    std::lock_guard lock(mutex_);
    need(get(vol), vol, snapshot);
    return volume_bytes;
  }

  void restore_prepare(const VolumeRef &vol, const std::string &snapshot, const storage::Progress &) override {
    std::lock_guard lock(mutex_);
    auto &v = get(vol);
    need(v, vol, snapshot);
    v.restoring = copy_tree(v.snapshots.at(snapshot));
  }

  void create_from_content(const VolumeRef &vol, const std::string &snapshot, const storage::Content &content, const storage::Progress &) override {
    std::lock_guard lock(mutex_);
    if (!get(vol).snapshots.emplace(snapshot, copy_tree(tree_of(content))).second) exists_already(vol.name + "/" + snapshot);
  }

  void refresh_prepare(const VolumeRef &vol, const VolumeRef &source, const std::optional<std::string> &snapshot, const storage::Progress &) override {
    std::lock_guard lock(mutex_);
    auto &from = get(source);
    if (snapshot) need(from, source, *snapshot);
    get(vol).restoring = copy_tree(snapshot ? from.snapshots.at(*snapshot) : from.tree);
  }

  void refresh_prepare(const VolumeRef &vol, const storage::Content &content, const storage::Progress &) override {
    std::lock_guard lock(mutex_);
    get(vol).restoring = copy_tree(tree_of(content));
  }

  void restore_commit(const VolumeRef &vol) override {
    std::lock_guard lock(mutex_);
    auto it = volumes_.find(id(vol));
    if (it == volumes_.end()) return;
    if (auto from = std::exchange(it->second.restoring, {})) it->second.tree = from;
  }

  void restore_abandon(const VolumeRef &vol) override {
    std::lock_guard lock(mutex_);
    if (auto it = volumes_.find(id(vol)); it != volumes_.end()) it->second.restoring.reset();
  }

private:
  using Id = std::pair<VolumeType, std::string>;
  static Id id(const VolumeRef &v) { return {v.type, v.name}; }
  static const Tree &tree_of(const storage::Content &c) { return static_cast<const MemoryContent &>(c).tree; }

  [[noreturn]] void no_files() const { base::fail(ErrorCode::not_supported, "volumes of pool {} have no files: this is a test host in memory", base::quoted(pool_)); }

  [[noreturn]] void exists_already(const std::string &name) {
    base::fail(ErrorCode::already_exists, "volume {} of pool {} exists already", base::quoted(name), base::quoted(pool_));
  }

  void add(const VolumeRef &vol, Tree tree) {
    if (!volumes_.emplace(id(vol), Volume{std::move(tree), {}, {}}).second) exists_already(vol.name);
  }

  Volume &get(const VolumeRef &vol) {
    auto it = volumes_.find(id(vol));
    if (it == volumes_.end()) base::fail(ErrorCode::not_found, "there is no volume {} of pool {}", base::quoted(vol.name), base::quoted(pool_));
    return it->second;
  }

  void need(const Volume &v, const VolumeRef &vol, const std::string &snapshot) {
    if (!v.snapshots.count(snapshot))
      base::fail(ErrorCode::not_found, "there is no snapshot {} of volume {} of pool {}", base::quoted(snapshot), base::quoted(vol.name), base::quoted(pool_));
  }

  std::mutex mutex_;
  std::string pool_, directory_;
  std::map<Id, Volume> volumes_;
};

std::unique_ptr<storage::Driver> open(const storage::DriverContext &c) { return std::make_unique<MemoryDriver>(c); }

constexpr storage::DriverInfo dir = {"dir", "Volumes in memory, behaving as plain directories", open, storage::validate_pool};
constexpr storage::DriverInfo overlay = {"overlay", "Volumes in memory, behaving as layers over a shared image", open, storage::validate_pool};
constexpr const storage::DriverInfo *table[] = {&dir, &overlay};

} // namespace

std::span<const storage::DriverInfo *const> drivers() noexcept { return table; }

} // namespace incus::mock
