// SPDX-License-Identifier: Apache-2.0
#include "base/error.hpp"
#include "embed/engine.hpp"

namespace incus::embed {

api::Reply Engine::internal_sql_get(api::Request &) { base::fail(ErrorCode::not_supported, "internal_sql_get is not served yet"); }
api::Reply Engine::internal_sql_post(api::Request &) { base::fail(ErrorCode::not_supported, "internal_sql_post is not served yet"); }
api::Reply Engine::recover_validate_post(api::Request &) { base::fail(ErrorCode::not_supported, "recover_validate_post is not served yet"); }
api::Reply Engine::recover_import_post(api::Request &) { base::fail(ErrorCode::not_supported, "recover_import_post is not served yet"); }

} // namespace incus::embed
