// SPDX-License-Identifier: Apache-2.0
// Image, Profile and Project.
#include <incus/host.hpp>

#include "api/call.hpp"
#include "api/records.hpp"

namespace incus {
inline namespace v0 {

using namespace api;

namespace {

template <class T> T get(const SessionPtr &session, RowId row, Request request, Etag *etag = nullptr) {
  auto reply = perform(session, row, std::move(request));
  if (etag) *etag = reply.etag;
  return from_json<T>(reply.metadata);
}

} // namespace

Image::Image(std::shared_ptr<api::Session> session, std::string project, std::string fingerprint)
    : session_(std::move(session)), project_(std::move(project)), name_(std::move(fingerprint)) {}
ImageInfo Image::info(Etag *etag) const { return get<ImageInfo>(session_, RowId::image_get, at({name_}, project_), etag); }
void Image::update(const ImageUpdate &to, const Etag &if_match) {
  perform(session_, RowId::image_put, with_body(at({name_}, project_), to_json(to), if_match));
}
std::vector<std::string> Image::export_to(const std::string &path) const { return export_image(session_, project_, name_, path); }
Operation Image::remove() { return begin(session_, RowId::image_delete, at({name_}, project_)); }

Profile::Profile(std::shared_ptr<api::Session> session, std::string project, std::string name)
    : session_(std::move(session)), project_(std::move(project)), name_(std::move(name)) {}
ProfileInfo Profile::info(Etag *etag) const { return get<ProfileInfo>(session_, RowId::profile_get, at({name_}, project_), etag); }
void Profile::update(const ProfileUpdate &to, const Etag &if_match) {
  perform(session_, RowId::profile_put, with_body(at({name_}, project_), to_json(to), if_match));
}
void Profile::rename(const std::string &new_name) {
  perform(session_, RowId::profile_post, with_body(at({name_}, project_), to_json(Rename{new_name})));
  name_ = new_name;
}
void Profile::remove() { perform(session_, RowId::profile_delete, at({name_}, project_)); }

Project::Project(std::shared_ptr<api::Session> session, std::string name) : session_(std::move(session)), name_(std::move(name)) {}
ProjectInfo Project::info(Etag *etag) const { return get<ProjectInfo>(session_, RowId::project_get, at({name_}), etag); }

} // namespace v0
} // namespace incus
