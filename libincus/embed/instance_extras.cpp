// SPDX-License-Identifier: Apache-2.0
#include "base/error.hpp"
#include "embed/engine.hpp"

namespace incus::embed {

api::Reply Engine::instances_put(api::Request &) { base::fail(ErrorCode::not_supported, "instances_put is not served yet"); }
api::Reply Engine::instance_rebuild_post(api::Request &) { base::fail(ErrorCode::not_supported, "instance_rebuild_post is not served yet"); }
api::Reply Engine::instance_access_get(api::Request &) { base::fail(ErrorCode::not_supported, "instance_access_get is not served yet"); }
api::Reply Engine::instance_metadata_get(api::Request &) { base::fail(ErrorCode::not_supported, "instance_metadata_get is not served yet"); }
api::Reply Engine::instance_metadata_put(api::Request &) { base::fail(ErrorCode::not_supported, "instance_metadata_put is not served yet"); }
api::Reply Engine::instance_metadata_patch(api::Request &) { base::fail(ErrorCode::not_supported, "instance_metadata_patch is not served yet"); }
api::Reply Engine::instance_templates_get(api::Request &) { base::fail(ErrorCode::not_supported, "instance_templates_get is not served yet"); }
api::Reply Engine::instance_templates_post(api::Request &) { base::fail(ErrorCode::not_supported, "instance_templates_post is not served yet"); }
api::Reply Engine::instance_templates_delete(api::Request &) { base::fail(ErrorCode::not_supported, "instance_templates_delete is not served yet"); }
api::Reply Engine::instance_logs_get(api::Request &) { base::fail(ErrorCode::not_supported, "instance_logs_get is not served yet"); }
api::Reply Engine::instance_log_get(api::Request &) { base::fail(ErrorCode::not_supported, "instance_log_get is not served yet"); }
api::Reply Engine::instance_log_delete(api::Request &) { base::fail(ErrorCode::not_supported, "instance_log_delete is not served yet"); }
api::Reply Engine::exec_outputs_get(api::Request &) { base::fail(ErrorCode::not_supported, "exec_outputs_get is not served yet"); }
api::Reply Engine::exec_output_get(api::Request &) { base::fail(ErrorCode::not_supported, "exec_output_get is not served yet"); }
api::Reply Engine::exec_output_delete(api::Request &) { base::fail(ErrorCode::not_supported, "exec_output_delete is not served yet"); }
api::Reply Engine::instance_console_post(api::Request &) { base::fail(ErrorCode::not_supported, "instance_console_post is not served yet"); }
api::Reply Engine::snapshot_patch(api::Request &) { base::fail(ErrorCode::not_supported, "snapshot_patch is not served yet"); }

} // namespace incus::embed
