// SPDX-License-Identifier: Apache-2.0
#include "base/error.hpp"
#include "embed/engine.hpp"

namespace incus::embed {

api::Reply Engine::instance_files_get(api::Request &) { base::fail(ErrorCode::not_supported, "instance_files_get is not served yet"); }
api::Reply Engine::instance_files_head(api::Request &) { base::fail(ErrorCode::not_supported, "instance_files_head is not served yet"); }
api::Reply Engine::instance_files_post(api::Request &) { base::fail(ErrorCode::not_supported, "instance_files_post is not served yet"); }
api::Reply Engine::instance_files_delete(api::Request &) { base::fail(ErrorCode::not_supported, "instance_files_delete is not served yet"); }
api::Reply Engine::instance_sftp_get(api::Request &) { base::fail(ErrorCode::not_supported, "instance_sftp_get is not served yet"); }

} // namespace incus::embed
