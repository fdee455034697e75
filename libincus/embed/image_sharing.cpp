// SPDX-License-Identifier: Apache-2.0
// Images that go to and come from elsewhere: secrets for one transfer, publishing an instance, pushing and refreshing.
#include <boost/json.hpp>

#include "api/records.hpp"
#include "base/error.hpp"
#include "base/names.hpp"
#include "base/time.hpp"
#include "embed/engine.hpp"
#include "embed/image_import.hpp"
#include "image/image.hpp"
#include "sys/fs.hpp"

namespace incus::embed {

namespace json = boost::json;

bool Engine::open_with_secret(const std::string &project, const std::string &fingerprint, const std::string &secret) {
  return !secret.empty() && image_secrets_.use(etag_of(json::value(secret)), project, fingerprint);
}

api::Reply Engine::image_secret_post(api::Request &q) {
  auto i = images_->info(q.project(), q.path[0]);
  OperationSpec s;
  s.project = q.project();
  s.resources["images"] = {"/1.0/images/" + i.fingerprint + (q.project() == "default" ? "" : "?project=" + q.project())};
  api::Reply reply;
  reply.operation = hold_secret(*operations_, image_secrets_, std::move(s), i.fingerprint);
  events_.lifecycle("image-secret-created", "/1.0/images/" + i.fingerprint, q.project());
  return reply;
}

namespace {

/// What the image says of itself: what the instance's own image said, with what the caller wants of it.
std::string metadata_for(const instance::Manager::RootView &v, const ImageImport &how) {
  image::Metadata m;
  auto text = sys::read_file_if_exists(sys::open_directory(v.volume).get(), "metadata.yaml");
  if (text) {
    m = image::parse_metadata(*text);
  } else {
    m.architecture = v.instance.architecture;
    m.properties = {{"architecture", v.instance.architecture}, {"name", v.instance.name}};
  }
  m.creation_date = base::now();
  if (!how.properties.empty()) m.properties = how.properties;
  m.expiry_date = how.expires_at.value_or(Time());
  return image::format_metadata(m);
}

} // namespace

api::Reply Engine::publish_image(api::Request &q, bool snapshot, const std::string &source) {
  auto cut = source.find('/');
  if (source.empty()) base::fail(ErrorCode::invalid_argument, "no instance was named to make an image of");
  if (snapshot != (cut != std::string::npos))
    base::fail(ErrorCode::invalid_argument, "invalid source {}: {}", base::quoted(source), snapshot ? "a snapshot is INSTANCE/SNAPSHOT" : "an instance's name has no \"/\"");
  auto name = source.substr(0, cut), of = snapshot ? source.substr(cut + 1) : std::string();
  instances_->row(q.project(), name);
  std::vector<ImageAliasInfo> aliases;
  auto how = import_from(q, aliases);
  auto *o = q.body.if_object();
  auto *wanted = o->if_contains("compression_algorithm");
  auto algorithm = wanted && wanted->is_string() ? std::string(wanted->get_string()) : std::string();
  if (algorithm.empty()) algorithm = project_setting(q.project(), "images.compression_algorithm");
  auto compression = image::check_compression(algorithm);
  OperationSpec s;
  s.description = "Downloading image";
  s.project = q.project();
  s.may_cancel = true;
  s.resources["instances"] = {"/1.0/instances/" + name + (q.project() == "default" ? "" : "?project=" + q.project())};
  return async(std::move(s), [this, project = q.project(), name, of, how, aliases, compression](TaskOperation &op) {
    std::string fingerprint;
    instances_->with_root(project, name, of, [&](const instance::Manager::RootView &v) {
      image::Publication p{v.volume, v.rootfs, v.ids, metadata_for(v, how), compression};
      fingerprint = images_->publish(project, p, how, [&](std::uint64_t done, std::uint64_t total) { op.progress("pack", done, total); });
    });
    image_came(op, project, fingerprint, aliases);
  });
}

} // namespace incus::embed
