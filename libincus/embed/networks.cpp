// SPDX-License-Identifier: Apache-2.0
#include "base/error.hpp"
#include "embed/engine.hpp"

namespace incus::embed {

api::Reply Engine::networks_get(api::Request &) { base::fail(ErrorCode::not_supported, "networks_get is not served yet"); }
api::Reply Engine::network_get(api::Request &) { base::fail(ErrorCode::not_supported, "network_get is not served yet"); }
api::Reply Engine::network_state_get(api::Request &) { base::fail(ErrorCode::not_supported, "network_state_get is not served yet"); }

} // namespace incus::embed
