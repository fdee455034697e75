// SPDX-License-Identifier: Apache-2.0
#include "base/error.hpp"
#include "embed/engine.hpp"

namespace incus::embed {

api::Reply Engine::projects_post(api::Request &) { base::fail(ErrorCode::not_supported, "projects_post is not served yet"); }
api::Reply Engine::project_put(api::Request &) { base::fail(ErrorCode::not_supported, "project_put is not served yet"); }
api::Reply Engine::project_patch(api::Request &) { base::fail(ErrorCode::not_supported, "project_patch is not served yet"); }
api::Reply Engine::project_post(api::Request &) { base::fail(ErrorCode::not_supported, "project_post is not served yet"); }
api::Reply Engine::project_delete(api::Request &) { base::fail(ErrorCode::not_supported, "project_delete is not served yet"); }
api::Reply Engine::project_state_get(api::Request &) { base::fail(ErrorCode::not_supported, "project_state_get is not served yet"); }
api::Reply Engine::project_access_get(api::Request &) { base::fail(ErrorCode::not_supported, "project_access_get is not served yet"); }

} // namespace incus::embed
