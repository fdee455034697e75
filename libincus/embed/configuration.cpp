// SPDX-License-Identifier: Apache-2.0
#include "base/error.hpp"
#include "embed/engine.hpp"

namespace incus::embed {

api::Reply Engine::configuration_get(api::Request &) { base::fail(ErrorCode::not_supported, "configuration_get is not served yet"); }

} // namespace incus::embed
