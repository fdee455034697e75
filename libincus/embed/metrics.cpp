// SPDX-License-Identifier: Apache-2.0
#include "base/error.hpp"
#include "embed/engine.hpp"

namespace incus::embed {

api::Reply Engine::metrics_get(api::Request &) { base::fail(ErrorCode::not_supported, "metrics_get is not served yet"); }

} // namespace incus::embed
