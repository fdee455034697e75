// SPDX-License-Identifier: Apache-2.0
#include "base/error.hpp"
#include "embed/engine.hpp"

namespace incus::embed {

api::Reply Engine::pool_patch(api::Request &) { base::fail(ErrorCode::not_supported, "pool_patch is not served yet"); }
api::Reply Engine::pool_volumes_type_get(api::Request &) { base::fail(ErrorCode::not_supported, "pool_volumes_type_get is not served yet"); }
api::Reply Engine::volume_get(api::Request &) { base::fail(ErrorCode::not_supported, "volume_get is not served yet"); }
api::Reply Engine::volume_put(api::Request &) { base::fail(ErrorCode::not_supported, "volume_put is not served yet"); }
api::Reply Engine::volume_patch(api::Request &) { base::fail(ErrorCode::not_supported, "volume_patch is not served yet"); }
api::Reply Engine::volume_state_get(api::Request &) { base::fail(ErrorCode::not_supported, "volume_state_get is not served yet"); }
api::Reply Engine::volume_snapshots_get(api::Request &) { base::fail(ErrorCode::not_supported, "volume_snapshots_get is not served yet"); }
api::Reply Engine::volume_snapshot_get(api::Request &) { base::fail(ErrorCode::not_supported, "volume_snapshot_get is not served yet"); }
api::Reply Engine::buckets_get(api::Request &) { base::fail(ErrorCode::not_supported, "buckets_get is not served yet"); }

} // namespace incus::embed
