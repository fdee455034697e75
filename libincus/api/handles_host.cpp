// SPDX-License-Identifier: Apache-2.0
// Host. Host::open stands with the doors (remote/open.cpp).
#include <incus/host.hpp>

#include "api/call.hpp"
#include "api/records.hpp"
#include "base/error.hpp"
#include "base/names.hpp"

namespace incus {
inline namespace v0 {

using namespace api;

namespace {

api::Session &live(const std::shared_ptr<api::Session> &session) {
  if (!session) base::fail(ErrorCode::unavailable, "this Host is empty: it was moved from");
  return *session;
}

std::string lower(std::string text) {
  for (auto &c : text)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return text;
}

Request list(const char *recursion) { return with_query(at({}), "recursion", recursion); }

} // namespace

Host::Host(std::shared_ptr<api::Session> session) : session_(std::move(session)) {}
Host::~Host() {
  try {
    close();
  } catch (...) {
    // A destructor has nobody to tell; the next open reconciles.
  }
}
Host::Host(Host &&) noexcept = default;
Host &Host::operator=(Host &&o) noexcept {
  if (this != &o) {
    Host old(std::move(*this));
    session_ = std::move(o.session_);
  }
  return *this;
}

void Host::close() {
  if (session_) session_->close();
}
const std::string &Host::uri() const { return live(session_).uri(); }
ServerInfo Host::info() const { return from_json<ServerInfo>(perform(session_, RowId::server_get, {}).metadata); }

std::vector<std::string> Host::project_names() const { return names_from_urls(perform(session_, RowId::projects_get, {}).metadata); }
Project Host::project(const std::string &name) const { return Project(session_, name); }

std::vector<InstanceInfo> Host::instances() const {
  auto r = list("1");
  r.want_record = true;
  auto reply = perform(session_, RowId::instances_get, std::move(r));
  if (auto *all = std::any_cast<std::vector<InstanceInfo>>(&reply.record)) return std::move(*all);
  return from_json<std::vector<InstanceInfo>>(reply.metadata);
}

std::vector<InstanceFull> Host::instances_full() const {
  auto r = list("2");
  r.want_record = true;
  auto reply = perform(session_, RowId::instances_get, std::move(r));
  if (auto *records = std::any_cast<std::vector<InstanceFull>>(&reply.record)) return std::move(*records);
  std::vector<InstanceFull> all;
  if (reply.metadata.is_null()) return all;
  all.reserve(reply.metadata.as_array().size());
  for (auto &one : reply.metadata.as_array()) all.push_back(full_from_json(one));
  return all;
}

std::vector<std::string> Host::instance_names() const { return names_from_urls(perform(session_, RowId::instances_get, {}).metadata); }
Instance Host::instance(const std::string &name, const std::string &project) const { return Instance(session_, project, name); }

Operation Host::create_instance(const InstanceCreate &request, const std::string &project) {
  auto body = to_json(request);
  // The wire wants the kind of a source; in C++ what is set tells it.
  auto &s = request.source;
  if (s.type.empty())
    body.as_object()["source"].as_object()["type"] = !s.source.empty()                                                          ? "copy"
                                                     : !s.alias.empty() || !s.fingerprint.empty() || !s.properties.empty() ? "image"
                                                                                                                            : "none";
  return begin(session_, RowId::instances_post, with_body(at({}, project), std::move(body)));
}

Instance Host::launch(const std::string &name, const std::string &image, InstanceCreate request, ReadyLevel level,
                      std::chrono::milliseconds timeout) {
  request.name = name;
  request.start = true;
  request.source = image_source(session_, image, {});
  auto done = create_instance(request).wait();
  auto made = name.empty() ? resource_name(done, "instances") : name;
  if (made.empty()) base::fail(ErrorCode::internal, "operation {} does not name the instance it made", base::quoted(done.id));
  Instance instance(session_, "default", made);
  instance.wait_ready(level, timeout);
  return instance;
}

std::vector<ImageInfo> Host::images() const { return from_json<std::vector<ImageInfo>>(perform(session_, RowId::images_get, list("1")).metadata); }
Image Host::image(const std::string &name) const { return Image(session_, "default", name); }
Operation Host::import_image(const std::string &path, const ImageImport &how) { return begin_import(session_, {}, {path}, to_json(how)); }
Operation Host::import_split_image(const std::string &metadata_path, const std::string &rootfs_path, const ImageImport &how) {
  return begin_import(session_, {}, {metadata_path, rootfs_path}, to_json(how));
}

std::vector<ImageAliasInfo> Host::image_aliases() const {
  return from_json<std::vector<ImageAliasInfo>>(perform(session_, RowId::aliases_get, list("1")).metadata);
}
ImageAliasInfo Host::image_alias(const std::string &name) const {
  return from_json<ImageAliasInfo>(perform(session_, RowId::alias_get, at({name})).metadata);
}
void Host::create_image_alias(const std::string &name, const std::string &fingerprint, const std::string &description) {
  ImageAliasInfo a;
  a.name = name;
  a.target = fingerprint;
  a.description = description;
  perform(session_, RowId::aliases_post, with_body({}, to_json(a)));
}
void Host::rename_image_alias(const std::string &name, const std::string &new_name) {
  perform(session_, RowId::alias_post, with_body(at({name}), to_json(Rename{new_name})));
}
void Host::delete_image_alias(const std::string &name) { perform(session_, RowId::alias_delete, at({name})); }

std::vector<ProfileInfo> Host::profiles() const {
  return from_json<std::vector<ProfileInfo>>(perform(session_, RowId::profiles_get, list("1")).metadata);
}
Profile Host::profile(const std::string &name) const { return Profile(session_, "default", name); }
void Host::create_profile(const ProfileCreate &request) { perform(session_, RowId::profiles_post, with_body({}, to_json(request))); }

std::vector<StoragePoolInfo> Host::storage_pools() const {
  return from_json<std::vector<StoragePoolInfo>>(perform(session_, RowId::pools_get, list("1")).metadata);
}
StoragePool Host::storage_pool(const std::string &name) const { return StoragePool(session_, name); }
void Host::create_storage_pool(const StoragePoolCreate &request) { perform(session_, RowId::pools_post, with_body({}, to_json(request))); }

Operation Host::import_instance(int from_fd, const BackupImport &how, const std::string &project) { return api::import_instance(session_, project, from_fd, how); }
Operation Host::import_instance(const std::string &path, const BackupImport &how, const std::string &project) {
  return api::import_instance(session_, project, open_backup(path).get(), how);
}

RecoverReport Host::recover_validate(const std::vector<RecoverPool> &pools) {
  return from_json<RecoverReport>(perform(session_, RowId::recover_validate_post, with_body({}, json::object{{"pools", to_json(pools)}})).metadata);
}
void Host::recover_import(const std::vector<RecoverPool> &pools) {
  perform(session_, RowId::recover_import_post, with_body({}, json::object{{"pools", to_json(pools)}}));
}

std::vector<OperationInfo> Host::operations() const {
  return from_json<std::vector<OperationInfo>>(operation_list(perform(session_, RowId::operations_get, list("1")).metadata));
}
Operation Host::operation(const std::string &id) const { return find_operation(session_, id); }
EventListener Host::listen(const std::vector<std::string> &types, std::size_t capacity) const {
  return EventListener(api::listen(session_, types, capacity));
}

std::string Host::request(const std::string &method, const std::string &path_and_query, const std::string &body) {
  auto [row, request] = route(method, path_and_query);
  if (!body.empty()) request.body = parse_json(body, "the request's body");
  auto reply = perform(session_, row->id, std::move(request));
  if (row->kind == Kind::async || (reply.operation && row->id != RowId::operation_get))
    return json::serialize(to_json(guarded(session_, std::move(reply.operation)).info()));
  return json::serialize(reply.metadata);
}

RawReply Host::call(const RawCall &call) {
  auto [row, request] = route(call.method, call.path);
  if (!call.body.empty()) request.body = parse_json(call.body, "the request's body");
  request.if_match = call.if_match;
  for (auto &[name, value] : call.headers) request.headers[lower(name)] = value;
  for (auto &[role, fd] : call.streams) request.streams.push_back({role, base::dup_fd(fd)});
  auto reply = perform(session_, row->id, std::move(request));
  RawReply out;
  out.etag = std::move(reply.etag);
  out.location = std::move(reply.location);
  for (auto &[name, value] : reply.headers) out.headers[lower(name)] = value;
  for (auto &b : reply.bodies) out.bodies.push_back({b.name, b.content_type, b.fd.release(), b.size});
  if (row->kind == Kind::async || (reply.operation && row->id != RowId::operation_get)) {
    if (reply.operation) {
      auto op = guarded(session_, std::move(reply.operation));
      out.metadata = json::serialize(to_json(op.info()));
      out.operation = std::move(op);
      return out;
    }
  }
  out.metadata = json::serialize(reply.metadata);
  return out;
}

void Host::on_exec(const std::string &instance, TestExecHandler handler) { live(session_).door().on_exec(instance, std::move(handler)); }

} // namespace v0
} // namespace incus
