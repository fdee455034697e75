// SPDX-License-Identifier: Apache-2.0
#include "base/error.hpp"
#include "embed/engine.hpp"

namespace incus::embed {

api::Reply Engine::warnings_get(api::Request &) { base::fail(ErrorCode::not_supported, "warnings_get is not served yet"); }
api::Reply Engine::warning_get(api::Request &) { base::fail(ErrorCode::not_supported, "warning_get is not served yet"); }
api::Reply Engine::warning_put(api::Request &) { base::fail(ErrorCode::not_supported, "warning_put is not served yet"); }
api::Reply Engine::warning_patch(api::Request &) { base::fail(ErrorCode::not_supported, "warning_patch is not served yet"); }
api::Reply Engine::warning_delete(api::Request &) { base::fail(ErrorCode::not_supported, "warning_delete is not served yet"); }
api::Reply Engine::internal_warnings_post(api::Request &) { base::fail(ErrorCode::not_supported, "internal_warnings_post is not served yet"); }

} // namespace incus::embed
