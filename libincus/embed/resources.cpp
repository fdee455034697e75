// SPDX-License-Identifier: Apache-2.0
#include "base/error.hpp"
#include "embed/engine.hpp"

namespace incus::embed {

api::Reply Engine::resources_get(api::Request &) { base::fail(ErrorCode::not_supported, "resources_get is not served yet"); }

} // namespace incus::embed
