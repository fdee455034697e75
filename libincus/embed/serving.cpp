// SPDX-License-Identifier: Apache-2.0
#include "base/error.hpp"
#include "embed/engine.hpp"

namespace incus::embed {

api::Reply Engine::root_get(api::Request &) { base::fail(ErrorCode::not_supported, "root_get is not served yet"); }
api::Reply Engine::operation_websocket_get(api::Request &) { base::fail(ErrorCode::not_supported, "operation_websocket_get is not served yet"); }
api::Reply Engine::events_get(api::Request &) { base::fail(ErrorCode::not_supported, "events_get is not served yet"); }
api::Reply Engine::internal_ready_get(api::Request &) { base::fail(ErrorCode::not_supported, "internal_ready_get is not served yet"); }
api::Reply Engine::internal_shutdown_put(api::Request &) { base::fail(ErrorCode::not_supported, "internal_shutdown_put is not served yet"); }
api::Reply Engine::internal_gc_get(api::Request &) { base::fail(ErrorCode::not_supported, "internal_gc_get is not served yet"); }
api::Reply Engine::internal_bgp_get(api::Request &) { base::fail(ErrorCode::not_supported, "internal_bgp_get is not served yet"); }

} // namespace incus::embed
