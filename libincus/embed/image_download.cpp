// SPDX-License-Identifier: Apache-2.0
// Images that come from other servers, from the web, or from another project of this one; and those that are sent to another server.
#include <boost/json.hpp>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/statvfs.h>

#include "api/records.hpp"
#include "base/error.hpp"
#include "base/names.hpp"
#include "base/time.hpp"
#include "embed/engine.hpp"
#include "embed/image_import.hpp"
#include "image/image.hpp"
#include "schema/schema.hpp"

namespace incus::embed {

namespace json = boost::json;

/// What was asked for, and for whom.
struct Engine::Wanted {
  std::string project;
  std::shared_ptr<const api::Caller> caller;
  image::ServerPlace place;
  std::string protocol, name, type;
  ImageImport how;
  bool auto_update = false, cached = false, published = false;
  bool refresh = false;                ///< in the place of one that is here
  Time last_used{};                    ///< of a cached one; none: now
  std::vector<ImageAliasInfo> aliases; ///< those with descriptions
  /// A refresh that nobody asked for is for one project: what another one has is not handed out on the word of a server.
  bool may_use(const std::string &other) const { return other == project || (caller ? caller->may_use(other) : !refresh); }
};

namespace {

/// An image is never larger, whatever is said.
constexpr std::int64_t most_bytes = std::int64_t(256) << 30;

std::string text(const json::object &o, const char *name) {
  auto *v = o.if_contains(name);
  if (v && !v->is_null() && !v->is_string()) base::fail(ErrorCode::invalid_argument, "invalid source of an image: {} must be a string", base::quoted(name));
  return v && v->is_string() ? std::string(v->get_string()) : std::string();
}

base::Fd spool_in(const std::string &directory) {
  base::Fd fd(directory.empty() ? ::memfd_create("image", MFD_CLOEXEC) : ::open(directory.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (!fd) base::fail_errno(errno, "cannot make a temporary file for the image");
  return fd;
}

/// At most what leaves the machine a tenth of the free space.
std::int64_t room_in(const std::string &directory) {
  struct statvfs fs;
  if (directory.empty() || ::statvfs(directory.c_str(), &fs) != 0) return most_bytes;
  return std::min<std::int64_t>(most_bytes, static_cast<std::int64_t>(fs.f_bavail / 10 * 9 * fs.f_frsize));
}

std::string size_text(double bytes) {
  const char *units[] = {"B", "kB", "MB", "GB", "TB"};
  int i = 0;
  for (; bytes >= 1000 && i < 4; i++) bytes /= 1000;
  return fmt::format("{:.2f}{}", bytes, units[i]);
}

/// Tells clients how far a transfer is, in the words that they show: "45% (12.50MB/s)".
image::Moved tell_progress(TaskOperation &op, const char *key) {
  using Clock = std::chrono::steady_clock;
  return [&op, key, begun = Clock::now(), last = Clock::time_point()](std::uint64_t done, std::uint64_t total) mutable {
    op.check_cancelled();
    auto now = Clock::now();
    if (now - last < std::chrono::milliseconds(250)) return;
    last = now;
    auto speed = size_text(static_cast<double>(done) / std::max(0.001, std::chrono::duration<double>(now - begun).count()));
    op.set_metadata(key, json::string(total ? fmt::format("{}% ({}/s)", done * 100 / total, speed) : fmt::format("{} ({}/s)", size_text(static_cast<double>(done)), speed)));
  };
}

/// A failure that cancelling brought about is called what it is.
template <class F> auto told_apart(TaskOperation &op, F work) {
  try {
    return work();
  } catch (const Error &) {
    op.check_cancelled();
    throw;
  }
}

} // namespace

void Engine::check_source(const std::string &server, const std::string &protocol, const std::string &mode) {
  if (!mode.empty() && mode != "pull") base::fail(ErrorCode::invalid_argument, "unknown mode {} of an image's source: must be pull or push", base::quoted(mode));
  if (protocol == "simplestreams")
    base::fail(ErrorCode::not_supported, "the image server {} speaks simplestreams, which this server does not yet: import the image from a file, or copy it from an Incus server",
               base::quoted(server));
  if (!protocol.empty() && protocol != "incus" && protocol != "lxd" && protocol != "direct")
    base::fail(ErrorCode::not_supported, "unknown protocol {} of an image server: this server speaks incus", base::quoted(protocol));
  if (!server.empty() && !transfers_) base::fail(ErrorCode::not_supported, "this host does not fetch images from other servers");
}

std::shared_ptr<image::Transfer> Engine::transfer(TaskOperation &op) {
  auto set = [&](const char *key) { return db::get_config(*global_, key); };
  auto t = transfers_({set("core.proxy_http"), set("core.proxy_https"), set("core.proxy_ignore_hosts")});
  op.set_handlers({}, [t] { t->cancel(); });
  return t;
}

Engine::Wanted Engine::wanted_from(const api::Request &q, const json::object &source) {
  Wanted w;
  w.project = q.project();
  w.caller = q.caller;
  w.protocol = text(source, "protocol");
  w.place = {text(source, "server"), text(source, "certificate"), text(source, "project"), text(source, "secret")};
  w.name = text(source, "fingerprint");
  if (w.name.empty()) w.name = text(source, "alias");
  w.type = text(source, "image_type");
  w.how = import_from(q, w.aliases);
  w.how.fingerprint.clear();
  auto &o = q.body.as_object();
  auto *update = o.if_contains("auto_update");
  w.auto_update = update && update->is_bool() && update->get_bool();
  w.published = o.contains("public");
  for (auto &n : w.how.aliases) {
    base::AliasName::parse(n);
    if (!w.how.reuse && !db::aliases(*global_, w.project, n).empty()) base::fail(ErrorCode::already_exists, "image alias {} already exists", base::quoted(n));
  }
  return w;
}

/// POST /1.0/images with a source of type image or url.
api::Reply Engine::download_image(api::Request &q, const json::object &source) {
  auto w = wanted_from(q, source);
  check_source(w.place.server, w.protocol, text(source, "mode"));
  auto url = text(source, "url");
  bool web = text(source, "type") == "url";
  if (web && url.empty()) base::fail(ErrorCode::invalid_argument, "no URL was given to fetch an image from");
  if (web && !transfers_) base::fail(ErrorCode::not_supported, "this host does not fetch images from other servers");
  if (!web && w.name.empty()) base::fail(ErrorCode::invalid_argument, "no image was named: a source of type image needs an alias or a fingerprint");
  OperationSpec s;
  s.description = "Downloading image";
  s.project = w.project;
  s.may_cancel = true;
  return async(std::move(s), [this, w = std::move(w), web, url](TaskOperation &op) {
    auto fingerprint = told_apart(op, [&] { return web ? pull_url(op, w, url) : w.place.server.empty() ? copy_image(w) : pull_image(op, w); });
    for (auto &n : w.how.aliases) {
      if (w.how.reuse && !db::aliases(*global_, w.project, n).empty()) images_->delete_alias(w.project, n);
      images_->create_alias(w.project, {"", fingerprint, n, ""});
    }
    image_came(op, w.project, fingerprint, w.aliases);
  });
}

/// The image under that fingerprint in the project: it is there (true), or another project that the caller may use has it, or `download` brings it.
/// Projects that the caller may not use do not count: a server that names a fingerprint has not shown that it has the image.
bool Engine::take_image(const Wanted &w, const std::string &fingerprint, const std::function<void()> &download) {
  {
    std::unique_lock lock(fetch_mutex_);
    fetch_idle_.wait(lock, [&] { return !fetching_.contains(fingerprint); });
    fetching_.insert(fingerprint);
  }
  struct Done {
    Engine &engine;
    const std::string &fingerprint;
    ~Done() {
      std::lock_guard lock(engine.fetch_mutex_);
      engine.fetching_.erase(fingerprint);
      engine.fetch_idle_.notify_all();
    }
  } done{*this, fingerprint};
  if (!db::images(*global_, w.project, fingerprint).empty()) return true;
  for (auto &p : db::project_names(*global_)) {
    if (!w.may_use(p)) continue;
    auto rows = db::images(*global_, p, fingerprint);
    if (rows.empty()) continue;
    images_->adopt(w.project, rows[0], w.how);
    return false;
  }
  download();
  return false;
}

/// The newest image that came from the same source by the same alias and is kept up to date; empty when there is none. Instances are made of it even
/// when the source has another one by now: that one comes with the next update.
std::string Engine::cached_image(const Wanted &w) {
  if (!w.cached || w.refresh || !w.place.secret.empty() || project_number("", "images.auto_update_interval") <= 0) return {};
  std::optional<db::ImageRow> best;
  auto protocol = w.protocol.empty() || w.protocol == "lxd" ? "incus" : w.protocol;
  for (auto &p : db::project_names(*global_)) {
    if (!w.may_use(p)) continue;
    for (auto &i : db::images(*global_, p)) {
      if (!i.auto_update || !i.origin || i.origin->server != w.place.server || i.origin->alias != w.name || i.origin->protocol != protocol) continue;
      if ((!w.type.empty() && i.type != w.type) || !image::architecture_runs(image::host_architecture(), i.architecture)) continue;
      if (!best || best->created_at < i.created_at) best = std::move(i);
    }
  }
  return best ? best->fingerprint : "";
}

/// What is said of an image beside its files.
void Engine::settle_image(const Wanted &w, const std::string &fingerprint, bool linked) {
  auto row = images_->resolve(w.project, fingerprint);
  for (auto &[k, v] : w.how.properties) row.properties[k] = v;
  if (w.published) row.public_ = w.how.public_;
  if (linked) row.auto_update = w.auto_update;
  if (w.how.profiles) row.profiles = *w.how.profiles;
  if (!w.how.filename.empty()) row.filename = w.how.filename;
  std::optional<ImageOrigin> origin;
  if (linked) origin = ImageOrigin{w.name, w.place.certificate, w.protocol.empty() || w.protocol == "lxd" ? "incus" : w.protocol, w.place.server, row.type};
  images_->settle(row, origin, w.cached, w.last_used == Time() && w.cached ? base::now() : w.last_used);
}

std::string Engine::pull_image(TaskOperation &op, const Wanted &w) {
  if (w.protocol == "direct") base::fail(ErrorCode::not_supported, "the protocol direct is for sources of type url");
  auto t = transfer(op);
  auto info = t->find(w.place, w.name, w.type);
  if (auto cached = cached_image(w); !cached.empty() && !info.fingerprint.starts_with(w.name)) info.fingerprint = cached;
  bool fresh = false;
  bool had = take_image(w, info.fingerprint, [&] {
    auto how = w.how;
    auto directory = images_->scratch();
    auto limit = room_in(directory);
    if (info.size > limit) base::fail(ErrorCode::no_space, "image {} has {} bytes, more than there is room for here", info.fingerprint.substr(0, 12), info.size);
    auto files = t->fetch(w.place, info.fingerprint, info.size > 0 ? info.size : limit, [&] { return spool_in(directory); }, tell_progress(op, "download_progress"));
    how.fingerprint = info.fingerprint;
    how.aliases.clear();
    if (how.filename.empty()) how.filename = info.filename;
    if (!base::is_one_line(how.filename) || how.filename.size() > 255) how.filename.clear();
    for (auto &[k, v] : info.properties) how.properties.emplace(k, v);
    if (!how.expires_at && info.expires_at != Time()) how.expires_at = info.expires_at;
    api::Request files_of;
    files_of.streams.push_back({files.rootfs ? "metadata" : "image", std::move(files.image)});
    if (files.rootfs) files_of.streams.push_back({"rootfs", std::move(files.rootfs)});
    images_->import(w.project, files_of, how, [&](std::uint64_t, std::uint64_t) { op.check_cancelled(); });
    fresh = true;
  });
  // One that was here on its own account stays what it is.
  if (had && (w.cached || w.refresh)) return info.fingerprint;
  // What is named by its fingerprint never changes at its origin.
  settle_image(w, info.fingerprint, w.place.secret.empty() && !info.fingerprint.starts_with(w.name));
  if (fresh) log_.info("image {} was fetched from {}", info.fingerprint, w.place.server);
  return info.fingerprint;
}

std::string Engine::pull_url(TaskOperation &op, const Wanted &w, const std::string &url) {
  auto t = transfer(op);
  std::string architectures = image::host_architecture();
  if (architectures == "x86_64") architectures += ", i686";
  if (architectures == "aarch64") architectures += ", armv7l";
  auto found = t->resolve(url, architectures);
  take_image(w, found.fingerprint, [&] {
    auto how = w.how;
    auto directory = images_->scratch();
    api::Request files;
    files.streams.push_back({"image", t->fetch_url(url, found.url, room_in(directory), [&] { return spool_in(directory); }, tell_progress(op, "download_progress"))});
    how.fingerprint = found.fingerprint;
    how.aliases.clear();
    images_->import(w.project, files, how, [&](std::uint64_t, std::uint64_t) { op.check_cancelled(); });
  });
  settle_image(w, found.fingerprint, false);
  return found.fingerprint;
}

/// From another project of this server.
std::string Engine::copy_image(const Wanted &w) {
  std::optional<db::ImageRow> row;
  std::vector<std::string> from{w.place.project};
  if (w.place.project.empty()) {
    from = {w.project};
    for (auto &p : db::project_names(*global_)) from.push_back(p);
  }
  for (auto &p : from) {
    if (!w.may_use(p)) continue;
    try {
      row = images_->resolve(p, w.name);
      break;
    } catch (const Error &e) {
      if (e.code() != ErrorCode::not_found || &p == &from.back()) throw;
    }
  }
  if (!row) base::fail(ErrorCode::not_found, "image {} not found", base::quoted(w.name));
  if (db::images(*global_, w.project, row->fingerprint).empty()) images_->adopt(w.project, *row, w.how);
  settle_image(w, row->fingerprint, false);
  return row->fingerprint;
}

std::string Engine::image_for_instance(TaskOperation &op, const std::string &project, const InstanceSource &source, const std::shared_ptr<const api::Caller> &caller) {
  Wanted w;
  w.project = project;
  w.caller = caller;
  w.place = {source.server, source.certificate, source.project, source.secret};
  w.protocol = source.protocol;
  w.name = source.fingerprint.empty() ? source.alias : source.fingerprint;
  w.type = "container";
  w.cached = true;
  w.auto_update = schema::truthy(project_setting(project, "images.auto_update_cached"));
  // The default profile of a project is not asked for: what the instance gets is its own matter.
  w.how.profiles = std::nullopt;
  auto fingerprint = told_apart(op, [&] { return pull_image(op, w); });
  op.set_handlers({}, {});
  op.add_resource("images", "/1.0/images/" + fingerprint + (project == "default" ? "" : "?project=" + project));
  return fingerprint;
}

/// Somebody will send the image with the secret that the operation shows.
api::Reply Engine::push_token(api::Request &q, const json::object &source) {
  auto fingerprint = base::Fingerprint::parse(text(source, "fingerprint")).str();
  std::vector<ImageAliasInfo> described;
  import_from(q, described); // checks
  OperationSpec s;
  s.project = q.project();
  auto wishes = std::make_shared<json::object>();
  for (auto *field : {"aliases", "expires_at", "properties", "public"})
    if (auto *v = q.body.as_object().if_contains(field)) {
      s.metadata[field] = *v;
      if (!v->is_null()) (*wishes)[field] = *v;
    }
  s.resources["images"] = {"/1.0/images/" + fingerprint};
  api::Reply reply;
  reply.operation = hold_secret(*operations_, push_secrets_, std::move(s), fingerprint, wishes);
  return reply;
}

api::Reply Engine::image_export_post(api::Request &q) {
  auto info = images_->info(q.project(), q.path[0]);
  auto *o = q.body.if_object();
  if (!o) base::fail(ErrorCode::invalid_argument, "to push an image, say where to: an object with target, certificate and secret");
  image::ServerPlace to{text(*o, "target"), text(*o, "certificate"), text(*o, "project"), text(*o, "secret")};
  std::optional<std::vector<std::string>> profiles;
  if (auto *p = o->if_contains("profiles"); p && p->is_array()) profiles = api::from_json<std::vector<std::string>>(*p);
  if (to.server.empty() || to.secret.empty())
    base::fail(ErrorCode::invalid_argument, "to push an image, name the target server and the secret that it gave out for this image");
  if (!transfers_) base::fail(ErrorCode::not_supported, "this host does not send images to other servers");
  OperationSpec s;
  s.description = "Downloading image";
  s.project = q.project();
  s.may_cancel = true;
  return async(std::move(s), [this, project = q.project(), info, to, profiles](TaskOperation &op) {
    told_apart(op, [&] {
      auto t = transfer(op);
      auto files = files_->open(info.fingerprint);
      t->push(to, info.fingerprint, info.filename.empty() ? info.fingerprint : info.filename, profiles, {std::move(files.first), std::move(files.second)},
              tell_progress(op, "upload_progress"));
      return 0;
    });
    events_.lifecycle("image-retrieved", "/1.0/images/" + info.fingerprint + (project == "default" ? "" : "?project=" + project), project, {{"target", to.server}});
  });
}

/// Fetches what the image's name stands for at its origin now. Another image takes over aliases, visibility and profiles.
api::Reply Engine::image_refresh_post(api::Request &q) {
  auto i = images_->info(q.project(), q.path[0]);
  OperationSpec s;
  s.description = "Refreshing image";
  s.project = q.project();
  s.may_cancel = true;
  s.metadata["refreshed"] = false;
  return async(std::move(s), [this, project = q.project(), caller = q.caller, i](TaskOperation &op) {
    if (refresh_image(op, project, caller, i)) op.set_metadata("refreshed", true);
  });
}

bool Engine::refresh_image(TaskOperation &op, const std::string &project, const std::shared_ptr<const api::Caller> &caller, const ImageInfo &i) {
  if (!i.update_source)
    base::fail(ErrorCode::invalid_argument, "image {} cannot be refreshed: it was imported here, or copied by its fingerprint or a secret, and has no source to ask",
               base::quoted(i.fingerprint.substr(0, 12)));
  check_source(i.update_source->server, i.update_source->protocol, "");
  Wanted w;
  w.project = project;
  w.caller = caller;
  w.place = {i.update_source->server, i.update_source->certificate, "", ""};
  w.protocol = i.update_source->protocol;
  w.name = i.update_source->alias;
  w.type = i.type;
  w.auto_update = i.auto_update;
  w.refresh = true;
  w.cached = i.cached;
  w.last_used = i.last_used_at;
  w.published = true;
  w.how.public_ = i.public_;
  w.how.profiles = i.profiles;
  auto fresh = told_apart(op, [&] { return pull_image(op, w); });
  op.set_handlers({}, {});
  if (fresh == i.fingerprint) return false;
  // Stopped in between, the next refresh goes on from here.
  for (auto &a : i.aliases) images_->update_alias(project, a.name, {a.description, fresh, a.name, ""});
  images_->remove(project, i.fingerprint);
  auto place = "/1.0/images/" + fresh + (project == "default" ? "" : "?project=" + project);
  op.add_resource("images", place);
  events_.lifecycle("image-refreshed", place, project);
  return true;
}

} // namespace incus::embed
