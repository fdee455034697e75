// SPDX-License-Identifier: Apache-2.0
// Images and their aliases. Who may not use the project sees the public ones, and what a secret opens.
#include <boost/json.hpp>

#include "api/access.hpp"
#include "api/records.hpp"
#include "base/error.hpp"
#include "base/ids.hpp"
#include "base/names.hpp"
#include "embed/engine.hpp"
#include "embed/image_import.hpp"

namespace incus::embed {

namespace json = boost::json;

namespace {

std::string url(const std::string &project, const std::string &kind, const std::string &name) {
  return "/1.0/images/" + kind + name + (project == "default" ? "" : "?project=" + project);
}

Etag etag(const ImageInfo &i) { return etag_of({i.public_, i.auto_update, api::to_json(i.properties), api::to_json(i.expires_at), api::to_json(i.profiles)}); }
Etag etag(const ImageAliasInfo &a) { return etag_of({a.name, a.target, a.description}); }

[[noreturn]] void no_image(const std::string &name) { base::fail(ErrorCode::not_found, "image {} not found", base::quoted(name)); }

std::string text(const json::object &o, const char *name) {
  auto *v = o.if_contains(name);
  return v && v->is_string() ? std::string(v->get_string()) : std::string();
}

} // namespace

ImageImport import_from(const api::Request &q, std::vector<ImageAliasInfo> &aliases) {
  auto body = q.body;
  if (auto *o = body.if_object()) {
    if (auto *list = o->if_contains("aliases"); list && list->is_array()) {
      json::array names;
      for (auto &a : list->get_array()) {
        if (!a.is_object()) {
          names.push_back(a);
          continue;
        }
        auto alias = api::from_json<ImageAliasInfo>(a);
        if (alias.name.empty()) base::fail(ErrorCode::invalid_argument, "an image alias has no name");
        names.emplace_back(alias.name);
        aliases.push_back(std::move(alias));
      }
      *list = std::move(names);
    }
  }
  auto how = api::from_json<ImageImport>(body);
  if (how.fingerprint.empty()) how.fingerprint = q.header("x-incus-fingerprint");
  return how;
}

/// What everybody sees; nobody learns which projects there are.
std::vector<ImageInfo> Engine::public_images(const std::string &project) {
  std::vector<ImageInfo> all;
  try {
    all = images_->list(project);
  } catch (const Error &e) {
    if (e.code() != ErrorCode::not_found) throw;
  }
  std::erase_if(all, [](auto &i) { return !i.public_; });
  return all;
}

/// The image as this caller may see it, by name; who may not sees what one sees that is not there.
ImageInfo Engine::visible_image(const api::Request &q, const std::string &name) {
  if (q.may_use(q.project())) return images_->info(q.project(), name);
  auto secret = q.query.find("secret");
  if (secret != q.query.end() && open_with_secret(q.project(), name, secret->second)) return images_->info(q.project(), name);
  std::optional<ImageInfo> found;
  if (!name.empty())
    for (auto &i : public_images(q.project()))
      if (i.fingerprint.starts_with(name)) {
        if (found) base::fail(ErrorCode::invalid_argument, "{} is the beginning of several image fingerprints: give more of it", base::quoted(name));
        found = std::move(i);
      }
  if (!found) no_image(name);
  return *found;
}

api::Reply Engine::images_get(api::Request &q) {
  json::array out;
  for (auto &i : q.may_use(q.project()) ? images_->list(q.project()) : public_images(q.project())) {
    if (q.recursion() == 0)
      out.emplace_back(url(q.project(), "", i.fingerprint));
    else
      out.push_back(api::to_json(i));
  }
  return {std::move(out), {}, {}};
}

api::Reply Engine::images_post(api::Request &q) {
  std::shared_ptr<const json::object> wishes;
  if (auto secret = q.header("x-incus-secret"); !secret.empty()) {
    auto key = etag_of(json::value(secret));
    // Asked before the body is read whether it is worth it: the secret stays good for the upload itself.
    if (q.streams.empty() && q.body.is_null()) {
      if (!push_secrets_.knows(key, q.project(), q.header("x-incus-fingerprint")) && !q.may_use(q.project())) api::forbid("the secret is not one for this image");
      return {};
    }
    if (push_secrets_.use(key, q.project(), q.header("x-incus-fingerprint"), &wishes)) push_secrets_.drop(key);
  }
  if (!wishes && !q.may_use(q.project())) api::forbid("the client is not trusted");
  if (auto *o = q.body.if_object(); o && q.streams.empty())
    if (auto *source = o->if_contains("source"); source && source->is_object()) return image_from_source(q, source->get_object());
  std::vector<ImageAliasInfo> aliases;
  if (wishes && q.body.is_object())
    for (auto &[k, v] : *wishes) q.body.get_object()[k] = v;
  auto how = import_from(q, aliases);
  OperationSpec s;
  // Whoever sent it with a secret may wait for the end with another.
  if (wishes) s.metadata["secret"] = base::random_hex(32);
  s.description = "Downloading image";
  s.project = q.project();
  s.may_cancel = true;
  auto request = std::make_shared<api::Request>(std::move(q));
  return async(std::move(s), [this, request, how, aliases](TaskOperation &op) {
    auto fingerprint = images_->import(request->project(), *request, how, [&](std::uint64_t done, std::uint64_t total) { op.progress("read", done, total); });
    image_came(op, request->project(), fingerprint, aliases);
  });
}

/// After an image was stored: descriptions of its aliases, and who is told.
void Engine::image_came(TaskOperation &op, const std::string &project, const std::string &fingerprint, const std::vector<ImageAliasInfo> &aliases) {
  for (auto &a : aliases)
    if (!a.description.empty()) images_->update_alias(project, a.name, {a.description, fingerprint, a.name, ""});
  auto info = images_->info(project, fingerprint);
  op.add_resource("images", url(project, "", fingerprint));
  op.set_metadata("fingerprint", json::string(fingerprint));
  op.set_metadata("size", json::string(std::to_string(info.size)));
  for (auto &a : info.aliases) events_.lifecycle("image-alias-created", url(project, "aliases/", a.name), project, {{"target", fingerprint}});
  events_.lifecycle("image-created", url(project, "", fingerprint), project, {{"type", info.type}});
}

api::Reply Engine::image_from_source(api::Request &q, const json::object &source) {
  auto type = text(source, "type"), mode = text(source, "mode");
  if (mode == "push") return push_token(q, source);
  if (type == "url" || type == "image") return download_image(q, source);
  if (type != "instance" && type != "container" && type != "virtual-machine" && type != "snapshot")
    base::fail(ErrorCode::invalid_argument, "unknown source type {} of an image: must be instance, snapshot, image or url", base::quoted(type));
  return publish_image(q, type == "snapshot", text(source, "name"));
}

api::Reply Engine::image_get(api::Request &q) {
  auto i = visible_image(q, q.path[0]);
  return {api::to_json(i), etag(i), {}};
}

api::Reply Engine::image_put(api::Request &q) {
  auto i = images_->info(q.project(), q.path[0]);
  check_match(q.if_match, etag(i), "image " + base::quoted(q.path[0]));
  images_->update(q.project(), q.path[0], api::from_json<ImageUpdate>(q.body));
  events_.lifecycle("image-updated", url(q.project(), "", i.fingerprint), q.project());
  return {};
}

api::Reply Engine::image_patch(api::Request &q) {
  auto i = images_->info(q.project(), q.path[0]);
  check_match(q.if_match, etag(i), "image " + base::quoted(q.path[0]));
  auto *o = q.body.if_object();
  if (!o) base::fail(ErrorCode::invalid_argument, "a change of an image must be a JSON object");
  auto change = api::from_json<ImageUpdate>(q.body);
  ImageUpdate to{i.auto_update, i.properties, i.public_, i.expires_at, i.profiles};
  auto given = [&](const char *name) { return o->contains(name) && !o->at(name).is_null(); };
  if (given("auto_update")) to.auto_update = change.auto_update;
  if (given("public")) to.public_ = change.public_;
  if (given("expires_at")) to.expires_at = change.expires_at;
  if (given("profiles")) to.profiles = change.profiles;
  for (auto &[k, v] : change.properties) to.properties[k] = v;
  images_->update(q.project(), i.fingerprint, to);
  events_.lifecycle("image-updated", url(q.project(), "", i.fingerprint), q.project());
  return {};
}

api::Reply Engine::image_delete(api::Request &q) {
  auto i = images_->info(q.project(), q.path[0]);
  OperationSpec s;
  s.description = "Deleting image";
  s.project = q.project();
  s.resources["images"] = {url(q.project(), "", i.fingerprint)};
  return async(std::move(s), [this, project = q.project(), fingerprint = i.fingerprint](TaskOperation &) {
    images_->remove(project, fingerprint);
    events_.lifecycle("image-deleted", url(project, "", fingerprint), project);
  });
}

api::Reply Engine::image_export_get(api::Request &q) {
  auto i = visible_image(q, q.path[0]);
  // The program's own files, or bodies for a client.
  if (q.stream("metadata") >= 0) return {images_->export_to(q.project(), i.fingerprint, q.stream("metadata"), q.stream("rootfs")), {}, {}};
  api::Reply reply;
  reply.bodies = images_->open_files(q.project(), i.fingerprint);
  reply.headers["X-Incus-Type"] = "incus";
  events_.lifecycle("image-retrieved", url(q.project(), "", i.fingerprint), q.project());
  return reply;
}

api::Reply Engine::aliases_get(api::Request &q) {
  json::array out;
  for (auto &a : images_->aliases(q.project())) {
    if (q.recursion() == 0)
      out.emplace_back(url(q.project(), "aliases/", a.name));
    else
      out.push_back(api::to_json(a));
  }
  return {std::move(out), {}, {}};
}

api::Reply Engine::aliases_post(api::Request &q) {
  auto a = api::from_json<ImageAliasInfo>(q.body);
  images_->create_alias(q.project(), a);
  events_.lifecycle("image-alias-created", url(q.project(), "aliases/", a.name), q.project(), {{"target", a.target}});
  api::Reply reply;
  reply.location = url(q.project(), "aliases/", a.name);
  return reply;
}

api::Reply Engine::alias_get(api::Request &q) {
  auto hidden = [&] { base::fail(ErrorCode::not_found, "image alias {} not found", base::quoted(q.path[0])); };
  std::optional<ImageAliasInfo> a;
  try {
    a = images_->alias(q.project(), q.path[0]);
  } catch (const Error &e) {
    if (q.may_use(q.project()) || e.code() != ErrorCode::not_found) throw;
    hidden();
  }
  if (!q.may_use(q.project()) && !images_->info(q.project(), a->target).public_) hidden();
  return {api::to_json(*a), etag(*a), {}};
}

api::Reply Engine::alias_put(api::Request &q) {
  check_match(q.if_match, etag(images_->alias(q.project(), q.path[0])), "image alias " + base::quoted(q.path[0]));
  auto a = api::from_json<ImageAliasInfo>(q.body);
  if (a.target.empty()) base::fail(ErrorCode::invalid_argument, "the target of alias {} is required: give an image's fingerprint", base::quoted(q.path[0]));
  images_->update_alias(q.project(), q.path[0], a);
  events_.lifecycle("image-alias-updated", url(q.project(), "aliases/", q.path[0]), q.project());
  return {};
}

api::Reply Engine::alias_patch(api::Request &q) {
  auto now = images_->alias(q.project(), q.path[0]);
  check_match(q.if_match, etag(now), "image alias " + base::quoted(q.path[0]));
  auto patch = api::from_json<ImageAliasInfo>(q.body);
  auto *o = q.body.if_object();
  if (!o) base::fail(ErrorCode::invalid_argument, "a change of an image alias must be a JSON object");
  if (o->contains("target")) now.target = patch.target;
  if (o->contains("description")) now.description = patch.description;
  images_->update_alias(q.project(), q.path[0], now);
  events_.lifecycle("image-alias-updated", url(q.project(), "aliases/", q.path[0]), q.project());
  return {};
}

api::Reply Engine::alias_post(api::Request &q) {
  auto to = api::from_json<api::Rename>(q.body).name;
  images_->rename_alias(q.project(), q.path[0], to);
  events_.lifecycle("image-alias-renamed", url(q.project(), "aliases/", to), q.project(), {{"old_name", q.path[0]}});
  api::Reply reply;
  reply.location = url(q.project(), "aliases/", to);
  return reply;
}

api::Reply Engine::alias_delete(api::Request &q) {
  images_->delete_alias(q.project(), q.path[0]);
  events_.lifecycle("image-alias-deleted", url(q.project(), "aliases/", q.path[0]), q.project());
  return {};
}

} // namespace incus::embed
