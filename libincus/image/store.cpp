// SPDX-License-Identifier: Apache-2.0
#include "image/store.hpp"

#include <boost/json.hpp>
#include <cerrno>
#include <fcntl.h>
#include <set>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

#include "base/error.hpp"
#include "base/names.hpp"
#include "base/time.hpp"
#include "sys/fault.hpp"

namespace incus::image {

namespace json = boost::json;

namespace {

/// Copies a whole regular file to another descriptor, from its beginning.
void copy_file(int from, int to, const std::string &what) {
  struct stat st;
  if (::fstat(from, &st) != 0) base::fail_errno(errno, "cannot read " + what);
  off_t at = 0;
  bool range = true;
  while (at < st.st_size) {
    auto left = static_cast<std::size_t>(st.st_size - at);
    ssize_t n;
    if (range) {
      n = ::copy_file_range(from, &at, to, nullptr, left, 0);
      if (n < 0 && (errno == EXDEV || errno == EINVAL || errno == EOPNOTSUPP || errno == ENOSYS)) {
        range = false;
        continue;
      }
    } else {
      n = ::sendfile(to, from, &at, left);
    }
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) base::fail_errno(errno, "cannot write " + what);
    if (n == 0) base::fail(ErrorCode::corrupt, "cannot write {}: it became shorter while it was read", what);
  }
}

bool is_squashfs(int fd) {
  char magic[4];
  return ::pread(fd, magic, 4, 0) == 4 && std::string_view(magic, 4) == "hsqs";
}

} // namespace

ImageInfo to_info(const db::ImageRow &r) {
  ImageInfo i;
  i.auto_update = r.auto_update;
  i.properties = r.properties;
  i.public_ = r.public_;
  i.expires_at = r.expires_at;
  i.profiles = r.profiles;
  for (auto &a : r.aliases) i.aliases.push_back({a.name, a.description, ""});
  i.architecture = r.architecture;
  i.cached = r.cached;
  i.filename = r.filename;
  i.fingerprint = r.fingerprint;
  i.size = r.size;
  i.type = r.type;
  i.created_at = r.created_at;
  i.last_used_at = r.last_used_at;
  i.uploaded_at = r.uploaded_at;
  i.project = r.project;
  i.update_source = r.origin;
  return i;
}

Store::Store(Context ctx) : ctx_(std::move(ctx)) {
  ctx_.journal.on("image.import", [this](const json::object &d) { recover_import(d); });
  ctx_.journal.on("image.remove", [this](const json::object &d) { recover_import(d); });
  ctx_.journal.on("image.unpack", [this](const json::object &d) { recover_unpack(d); });
}

std::vector<ImageInfo> Store::list(const std::string &project) {
  db::project_id(ctx_.global, project);
  std::vector<ImageInfo> out;
  for (auto &r : db::images(ctx_.global, project)) out.push_back(to_info(r));
  return out;
}

db::ImageRow Store::resolve(const std::string &project, const std::string &name) {
  db::project_id(ctx_.global, project);
  if (name.empty()) base::fail(ErrorCode::invalid_argument, "no image was named: give a fingerprint or an alias");
  if (auto a = db::aliases(ctx_.global, project, name); !a.empty()) {
    auto rows = db::images(ctx_.global, project, a[0].fingerprint);
    if (!rows.empty()) return rows[0];
  }
  std::optional<db::ImageRow> found;
  for (auto &r : db::images(ctx_.global, project)) {
    if (!r.fingerprint.starts_with(name)) continue;
    if (found) base::fail(ErrorCode::invalid_argument, "{} is the beginning of several image fingerprints: give more of it", base::quoted(name));
    found = std::move(r);
  }
  if (!found) base::fail(ErrorCode::not_found, "image {} not found", base::quoted(name));
  return *found;
}

db::ImageRow Store::find(const std::string &project, const Config &properties) {
  std::optional<db::ImageRow> best;
  for (auto &r : db::images(ctx_.global, project)) {
    bool all = std::all_of(properties.begin(), properties.end(), [&](auto &kv) {
      auto it = r.properties.find(kv.first);
      return it != r.properties.end() && it->second == kv.second;
    });
    if (all && (!best || best->created_at < r.created_at)) best = std::move(r);
  }
  if (!best) base::fail(ErrorCode::not_found, "no image has all of the given properties");
  return *best;
}

ImageInfo Store::info(const std::string &project, const std::string &name) { return to_info(resolve(project, name)); }

std::string Store::import(const std::string &project, const api::Request &request, const ImageImport &how, const Progress &progress) {
  db::project_id(ctx_.global, project);
  std::vector<std::string> names = how.aliases;
  if (!how.alias.empty()) names.insert(names.begin(), how.alias);
  for (auto &n : names) {
    base::AliasName::parse(n);
    if (!how.reuse && !db::aliases(ctx_.global, project, n).empty())
      base::fail(ErrorCode::already_exists, "image alias {} already exists: delete it first, or import with reuse", base::quoted(n));
  }
  for (auto &[k, v] : how.properties)
    if (!base::is_one_line(k) || !base::is_one_line(v) || k.empty()) base::fail(ErrorCode::invalid_argument, "image property {} must be one line", base::quoted(k));

  int image = request.stream("image"), rootfs = -1;
  base::Fd packed;
  if (int dir = request.stream("directory"); dir >= 0) {
    packed = base::Fd(ctx_.scratch.empty() ? ::memfd_create("image", MFD_CLOEXEC) : ::open(ctx_.scratch.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    if (!packed) base::fail_errno(errno, "cannot make a temporary file for the image");
    pack(ctx_.helper, dir, packed.get());
    image = packed.get();
  } else if (image < 0) {
    image = request.stream("metadata");
    rootfs = request.stream("rootfs");
  }
  if (image < 0) base::fail(ErrorCode::invalid_argument, "no image was given: send a unified image, or metadata and rootfs");

  auto seen = inspect(ctx_.helper, image, rootfs, progress);
  if (!how.fingerprint.empty() && how.fingerprint != seen.fingerprint)
    base::fail(ErrorCode::corrupt, "the image is not the one that was announced: its fingerprint is {}, not {}", seen.fingerprint, base::quoted(how.fingerprint));
  db::ImageRow row;
  row.project = project;
  row.fingerprint = seen.fingerprint;
  row.filename = how.filename;
  row.architecture = seen.metadata.architecture;
  row.type = seen.type;
  row.size = seen.size;
  row.public_ = how.public_;
  row.created_at = seen.metadata.creation_date;
  row.expires_at = seen.metadata.expiry_date;
  row.uploaded_at = base::now();
  row.properties = seen.metadata.properties;
  for (auto &[k, v] : how.properties) row.properties[k] = v;
  row.profiles = how.profiles.value_or(std::vector<std::string>{"default"});
  if (how.expires_at) row.expires_at = *how.expires_at;

  auto alone = hold(row.fingerprint);
  // Another import of the same image may have come first.
  if (!db::images(ctx_.global, project, row.fingerprint).empty())
    base::fail(ErrorCode::already_exists, "an image with fingerprint {} already exists", row.fingerprint);
  db::Intent intent(ctx_.journal, "image.import", {{"fingerprint", row.fingerprint}});
  ctx_.files.put(row.fingerprint, image, rootfs);
  ctx_.global.transaction([&] {
    db::insert_image(ctx_.global, row);
    for (auto &n : names) {
      if (how.reuse) db::delete_alias(ctx_.global, project, n);
      db::insert_alias(ctx_.global, project, {n, "", row.fingerprint, ""});
    }
  });
  intent.done();
  return row.fingerprint;
}

std::string Store::publish(const std::string &project, const Publication &p, const ImageImport &how, const Progress &progress) {
  api::Request request;
  base::Fd file(ctx_.scratch.empty() ? ::memfd_create("image", MFD_CLOEXEC) : ::open(ctx_.scratch.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (!file) base::fail_errno(errno, "cannot make a temporary file for the image");
  image::publish(ctx_.helper, p, file.get(), progress);
  request.streams.push_back({"image", std::move(file)});
  return import(project, request, how, progress);
}

Store::InUse Store::hold(const std::string &key, bool together) {
  struct Held {
    Store &store;
    std::string key;
    std::shared_ptr<std::shared_mutex> gate;
    bool together, locked = false;
    ~Held() {
      if (locked && together) gate->unlock_shared();
      if (locked && !together) gate->unlock();
      std::lock_guard lock(store.mutex_);
      gate.reset();
      if (auto it = store.gates_.find(key); it != store.gates_.end() && it->second.expired()) store.gates_.erase(it);
    }
  };
  std::shared_ptr<std::shared_mutex> gate;
  {
    std::lock_guard lock(mutex_);
    auto &known = gates_[key];
    gate = known.lock();
    if (!gate) known = gate = std::make_shared<std::shared_mutex>();
  }
  std::shared_ptr<Held> held(new Held{*this, key, std::move(gate), together});
  if (together)
    held->gate->lock_shared();
  else
    held->gate->lock();
  held->locked = true;
  return held;
}

void Store::adopt(const std::string &project, const db::ImageRow &from, const ImageImport &how) {
  auto alone = hold(from.fingerprint);
  // The last of its projects may have removed it meanwhile.
  ctx_.files.open(from.fingerprint);
  auto row = from;
  row.project = project;
  row.asked.clear();
  row.public_ = how.public_;
  row.cached = false;
  row.auto_update = false;
  row.uploaded_at = base::now();
  row.aliases.clear();
  row.profiles = how.profiles.value_or(std::vector<std::string>{"default"});
  if (how.expires_at) row.expires_at = *how.expires_at;
  ctx_.global.transaction([&] { db::insert_image(ctx_.global, row); });
}

void Store::settle(const db::ImageRow &row, const std::optional<ImageOrigin> &origin, bool cached, Time last_used) {
  for (auto &[k, v] : row.properties)
    if (!base::is_one_line(k) || !base::is_one_line(v) || k.empty()) base::fail(ErrorCode::invalid_argument, "image property {} must be one line", base::quoted(k));
  ctx_.global.transaction([&] {
    db::update_image(ctx_.global, row);
    if (origin) db::set_image_origin(ctx_.global, row.id, *origin);
    if (cached) db::mark_cached(ctx_.global, row.id);
    if (last_used != Time()) db::touch_image(ctx_.global, row.id, last_used);
  });
}

void Store::drop_unused(const std::string &fingerprint) {
  if (db::have_image(ctx_.global, fingerprint)) return;
  for (auto &pool : db::pools(ctx_.global)) {
    bool has = false;
    for (auto &v : db::volumes(ctx_.global, pool.name)) has = has || (v.type == 1 && v.name == fingerprint);
    if (!has && !ctx_.pools.available(pool.name)) continue;
    if (has) ctx_.pools.driver(pool.name)->open(); // else the row stays, for the next open
    ctx_.global.transaction([&] { db::delete_volume(ctx_.global, pool.name, "default", fingerprint, 1); });
    ctx_.pools.driver(pool.name)->remove_volume({storage::VolumeType::image, fingerprint});
  }
  ctx_.files.remove(fingerprint);
}

void Store::recover_import(const json::object &data) { drop_unused(std::string(data.at("fingerprint").as_string())); }

void Store::update(const std::string &project, const std::string &name, const ImageUpdate &to) {
  auto row = resolve(project, name);
  for (auto &[k, v] : to.properties)
    if (!base::is_one_line(k) || !base::is_one_line(v) || k.empty()) base::fail(ErrorCode::invalid_argument, "image property {} must be one line", base::quoted(k));
  row.auto_update = to.auto_update;
  row.public_ = to.public_;
  row.expires_at = to.expires_at;
  row.properties = to.properties;
  row.profiles = to.profiles;
  ctx_.global.transaction([&] { db::update_image(ctx_.global, row); });
}

void Store::remove(const std::string &project, const std::string &name) {
  auto row = resolve(project, name);
  auto alone = hold(row.fingerprint);
  db::Intent intent(ctx_.journal, "image.remove", {{"fingerprint", row.fingerprint}});
  ctx_.global.transaction([&] { db::delete_image(ctx_.global, row.id); });
  drop_unused(row.fingerprint);
  intent.done();
}

bool Store::expire(const std::string &project, const std::string &fingerprint, Time unused_since) {
  auto alone = hold(fingerprint);
  auto rows = db::images(ctx_.global, project, fingerprint);
  if (rows.empty() || !rows[0].cached) return false;
  db::Intent intent(ctx_.journal, "image.remove", {{"fingerprint", fingerprint}});
  bool gone = false;
  // Asked within the transaction: an instance may be made of it in this moment.
  ctx_.global.transaction([&] { gone = db::delete_unused_image(ctx_.global, rows[0].id, unused_since); });
  if (gone) drop_unused(fingerprint);
  intent.done();
  return gone;
}

namespace {
/// What a file's name ends with, as its beginning tells.
const char *ending(int fd) {
  char h[265] = {};
  auto n = ::pread(fd, h, sizeof h, 0);
  std::string_view head(h, n < 0 ? 0 : static_cast<std::size_t>(n));
  if (head.starts_with(std::string_view("\xfd" "7zXZ\0", 6))) return ".tar.xz";
  if (head.starts_with("\x1f\x8b")) return ".tar.gz";
  if (head.starts_with("BZh")) return ".tar.bz2";
  if (head.starts_with("\x28\xb5\x2f\xfd")) return ".tar.zst";
  if (head.starts_with("\x04\x22\x4d\x18")) return ".tar.lz4";
  if (head.starts_with(std::string_view("\x5d\0\0", 3))) return ".tar.lzma";
  if (head.starts_with("hsqs")) return ".squashfs";
  if (head.starts_with("QFI\xfb")) return ".qcow2";
  if (head.size() > 262 && head.substr(257, 5) == "ustar") return ".tar";
  return "";
}
} // namespace

std::vector<api::Reply::Body> Store::open_files(const std::string &project, const std::string &name) {
  auto row = resolve(project, name);
  auto [meta, root] = ctx_.files.open(row.fingerprint);
  std::vector<api::Reply::Body> out;
  auto add = [&](base::Fd fd, const char *part, const std::string &file) {
    struct stat st;
    if (::fstat(fd.get(), &st) != 0) base::fail_errno(errno, "cannot read image " + row.fingerprint);
    api::Reply::Body b;
    b.name = part;
    b.filename = file;
    b.size = st.st_size;
    b.fd = std::move(fd);
    out.push_back(std::move(b));
  };
  auto file = row.fingerprint + ending(meta.get());
  if (!root) {
    add(std::move(meta), "image", file);
    return out;
  }
  auto rootfs = row.fingerprint + ending(root.get());
  add(std::move(meta), "metadata", "meta-" + file);
  add(std::move(root), row.type == "virtual-machine" ? "rootfs.img" : "rootfs", rootfs);
  return out;
}

json::object Store::export_to(const std::string &project, const std::string &name, int metadata, int rootfs) {
  auto row = resolve(project, name);
  auto [meta, root] = ctx_.files.open(row.fingerprint);
  if (metadata < 0 || (root && rootfs < 0)) base::fail(ErrorCode::invalid_argument, "export of a {} image needs {}", root ? "split" : "unified", root ? "two descriptors" : "a descriptor");
  copy_file(meta.get(), metadata, "image " + row.fingerprint);
  if (root) copy_file(root.get(), rootfs, "root file system of image " + row.fingerprint);
  json::object o;
  o["split"] = static_cast<bool>(root);
  o["rootfs_squashfs"] = root && is_squashfs(root.get());
  o["fingerprint"] = row.fingerprint;
  o["filename"] = row.filename;
  return o;
}

namespace {
ImageAliasInfo to_alias(const db::AliasRow &a) { return {a.description, a.fingerprint, a.name, a.type}; }
} // namespace

std::vector<ImageAliasInfo> Store::aliases(const std::string &project) {
  db::project_id(ctx_.global, project);
  std::vector<ImageAliasInfo> out;
  for (auto &a : db::aliases(ctx_.global, project)) out.push_back(to_alias(a));
  return out;
}

ImageAliasInfo Store::alias(const std::string &project, const std::string &name) {
  db::project_id(ctx_.global, project);
  auto a = db::aliases(ctx_.global, project, name);
  if (a.empty()) base::fail(ErrorCode::not_found, "image alias {} not found", base::quoted(name));
  return to_alias(a[0]);
}

void Store::create_alias(const std::string &project, const ImageAliasInfo &a) {
  auto name = base::AliasName::parse(a.name).str();
  auto image = resolve(project, a.target);
  if (!db::aliases(ctx_.global, project, name).empty()) base::fail(ErrorCode::already_exists, "image alias {} already exists", base::quoted(name));
  ctx_.global.transaction([&] { db::insert_alias(ctx_.global, project, {name, a.description, image.fingerprint, ""}); });
}

void Store::update_alias(const std::string &project, const std::string &name, const ImageAliasInfo &a) {
  auto have = alias(project, name);
  auto image = resolve(project, a.target.empty() ? have.target : a.target);
  ctx_.global.transaction([&] { db::update_alias(ctx_.global, project, {name, a.description, image.fingerprint, ""}); });
}

void Store::rename_alias(const std::string &project, const std::string &name, const std::string &new_name) {
  alias(project, name);
  base::AliasName::parse(new_name);
  if (!db::aliases(ctx_.global, project, new_name).empty()) base::fail(ErrorCode::already_exists, "image alias {} already exists", base::quoted(new_name));
  ctx_.global.transaction([&] { db::rename_alias(ctx_.global, project, name, new_name); });
}

void Store::delete_alias(const std::string &project, const std::string &name) {
  alias(project, name);
  ctx_.global.transaction([&] { db::delete_alias(ctx_.global, project, name); });
}

Store::InUse Store::ensure_volume(const db::ImageRow &image, const std::string &pool, const Progress &progress) {
  auto in_use = hold(image.fingerprint, true);
  // It may have been removed since it was looked up.
  if (!db::have_image(ctx_.global, image.fingerprint)) base::fail(ErrorCode::not_found, "image {} was removed meanwhile", image.fingerprint);
  touch(image.id);
  auto one_at_a_time = hold(pool + "/" + image.fingerprint);
  auto driver = ctx_.pools.driver(pool);
  storage::VolumeRef vol{storage::VolumeType::image, image.fingerprint};
  bool have_row = false;
  for (auto &v : db::volumes(ctx_.global, pool)) have_row = have_row || (v.type == 1 && v.name == image.fingerprint);
  if (have_row && driver->exists(vol)) return in_use;
  db::Intent intent(ctx_.journal, "image.unpack", {{"fingerprint", image.fingerprint}, {"pool", pool}});
  auto files = ctx_.files.open(image.fingerprint);
  driver->create_image(vol, [&](int dirfd) {
    unpack(ctx_.helper, files.first.get(), files.second.get(), files.second && is_squashfs(files.second.get()), dirfd, progress);
  });
  ctx_.global.transaction([&] {
    db::delete_volume(ctx_.global, pool, "default", image.fingerprint, 1);
    db::insert_volume(ctx_.global, {"default", image.fingerprint, pool, "", "", 1, base::now()});
  });
  intent.done();
  return in_use;
}

void Store::recover_unpack(const json::object &data) {
  std::string pool(data.at("pool").as_string()), fingerprint(data.at("fingerprint").as_string());
  if (db::pools(ctx_.global, pool).empty()) return;
  for (auto &v : db::volumes(ctx_.global, pool))
    if (v.type == 1 && v.name == fingerprint) return;
  ctx_.pools.driver(pool)->remove_volume({storage::VolumeType::image, fingerprint});
}

void Store::touch(std::int64_t id) {
  ctx_.global.transaction([&] { db::touch_image(ctx_.global, id, base::now()); });
}

void Store::check(std::vector<std::string> &problems) {
  std::set<std::string> rows, disk;
  for (auto &p : db::project_names(ctx_.global))
    for (auto &i : db::images(ctx_.global, p)) rows.insert(i.fingerprint);
  for (auto &f : ctx_.files.list()) disk.insert(f);
  for (auto &f : rows)
    if (!disk.count(f)) problems.push_back("image " + f + " is in the store but has no file");
  for (auto &f : disk)
    if (!rows.count(f)) problems.push_back("image file " + f + " is on disk but not in the store");
}

} // namespace incus::image
