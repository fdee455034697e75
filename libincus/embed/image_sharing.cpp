// SPDX-License-Identifier: Apache-2.0
#include "base/error.hpp"
#include "embed/engine.hpp"

namespace incus::embed {

api::Reply Engine::image_patch(api::Request &) { base::fail(ErrorCode::not_supported, "image_patch is not served yet"); }
api::Reply Engine::image_secret_post(api::Request &) { base::fail(ErrorCode::not_supported, "image_secret_post is not served yet"); }
api::Reply Engine::image_export_post(api::Request &) { base::fail(ErrorCode::not_supported, "image_export_post is not served yet"); }
api::Reply Engine::image_refresh_post(api::Request &) { base::fail(ErrorCode::not_supported, "image_refresh_post is not served yet"); }

} // namespace incus::embed
