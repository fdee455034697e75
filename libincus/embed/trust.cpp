// SPDX-License-Identifier: Apache-2.0
#include "base/error.hpp"
#include "embed/engine.hpp"

namespace incus::embed {

api::Reply Engine::server_put(api::Request &) { base::fail(ErrorCode::not_supported, "server_put is not served yet"); }
api::Reply Engine::server_patch(api::Request &) { base::fail(ErrorCode::not_supported, "server_patch is not served yet"); }
api::Reply Engine::certificates_get(api::Request &) { base::fail(ErrorCode::not_supported, "certificates_get is not served yet"); }
api::Reply Engine::certificates_post(api::Request &) { base::fail(ErrorCode::not_supported, "certificates_post is not served yet"); }
api::Reply Engine::certificate_get(api::Request &) { base::fail(ErrorCode::not_supported, "certificate_get is not served yet"); }
api::Reply Engine::certificate_put(api::Request &) { base::fail(ErrorCode::not_supported, "certificate_put is not served yet"); }
api::Reply Engine::certificate_patch(api::Request &) { base::fail(ErrorCode::not_supported, "certificate_patch is not served yet"); }
api::Reply Engine::certificate_delete(api::Request &) { base::fail(ErrorCode::not_supported, "certificate_delete is not served yet"); }

void Engine::on_server_config(ConfigHook hook) {
  std::lock_guard lock(config_mutex_);
  config_hook_ = std::move(hook);
}

} // namespace incus::embed
