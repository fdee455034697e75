// SPDX-License-Identifier: Apache-2.0
#include "api/records.hpp"
#include "common.hpp"

using namespace incus;
using namespace incus::c;

namespace {

api::Request image_at(const char *project, const char *image) { return named(project, {text(image, "image")}); }
api::Request alias_at(const char *project, const char *name) { return named(project, {text(name, "name")}); }

} // namespace

extern "C" {

incus_status incus_image_list(incus_host *host, const char *project, int recursion, char **json, incus_error **err) {
  return guard(err, [&] { query(host, RowId::images_get, list(project, recursion), json); });
}
incus_status incus_image_import(incus_host *host, const char *project, const char *path, const char *rootfs_path, const char *how,
                                incus_operation **op, incus_error **err) {
  return guard(err, [&] {
    // Through the record, so that a wrong type is refused before the file is opened.
    auto body = api::to_json(api::from_json<ImageImport>(optional_object(how, "how")));
    std::vector<std::string> paths{text(path, "path")};
    if (rootfs_path) paths.emplace_back(rootfs_path);
    hand_out(api::begin_import(session(host), optional(project), paths, std::move(body)), op);
  });
}
incus_status incus_image_get(incus_host *host, const char *project, const char *image, char **json, char **etag, incus_error **err) {
  return guard(err, [&] { query(host, RowId::image_get, image_at(project, image), json, etag); });
}
incus_status incus_image_update(incus_host *host, const char *project, const char *image, const char *json, const char *if_match, incus_error **err) {
  return guard(err,
               [&] { answer(host, RowId::image_put, api::with_body(image_at(project, image), object(json, "json"), optional(if_match)), nullptr); });
}
incus_status incus_image_delete(incus_host *host, const char *project, const char *image, incus_operation **op, incus_error **err) {
  return guard(err, [&] { begin(host, RowId::image_delete, image_at(project, image), op); });
}
incus_status incus_image_export(incus_host *host, const char *project, const char *image, const char *path, char **files, incus_error **err) {
  return guard(err, [&] {
    auto written = api::export_image(session(host), optional(project), text(image, "image"), text(path, "path"));
    Text names(json::serialize(api::to_json(written)));
    names.give(files);
  });
}

incus_status incus_image_alias_list(incus_host *host, const char *project, int recursion, char **json, incus_error **err) {
  return guard(err, [&] { query(host, RowId::aliases_get, list(project, recursion), json); });
}
incus_status incus_image_alias_get(incus_host *host, const char *project, const char *name, char **json, incus_error **err) {
  return guard(err, [&] { query(host, RowId::alias_get, alias_at(project, name), json); });
}
incus_status incus_image_alias_create(incus_host *host, const char *project, const char *name, const char *fingerprint, const char *description,
                                      incus_error **err) {
  return guard(err, [&] {
    ImageAliasInfo a;
    a.name = text(name, "name");
    a.target = text(fingerprint, "fingerprint");
    a.description = optional(description);
    answer(host, RowId::aliases_post, api::with_body(named(project, {}), api::to_json(a)), nullptr);
  });
}
incus_status incus_image_alias_update(incus_host *host, const char *project, const char *name, const char *json, const char *if_match,
                                      incus_error **err) {
  return guard(err,
               [&] { answer(host, RowId::alias_put, api::with_body(alias_at(project, name), object(json, "json"), optional(if_match)), nullptr); });
}
incus_status incus_image_alias_rename(incus_host *host, const char *project, const char *name, const char *new_name, incus_error **err) {
  return guard(err, [&] {
    answer(host, RowId::alias_post, api::with_body(alias_at(project, name), api::to_json(api::Rename{text(new_name, "new_name")})), nullptr);
  });
}
incus_status incus_image_alias_delete(incus_host *host, const char *project, const char *name, incus_error **err) {
  return guard(err, [&] { answer(host, RowId::alias_delete, alias_at(project, name), nullptr); });
}

} // extern "C"
