// SPDX-License-Identifier: Apache-2.0
// Events to a websocket, without a thread.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "api/door.hpp"
#include "rest/server.hpp"
#include "rest/websocket.hpp"

namespace incus::rest {

struct EventWish {
  std::vector<std::string> types;
  std::string project;
  bool all_projects = false;
  std::shared_ptr<const api::Caller> caller;
};

void serve_events(Server::Impl &server, std::shared_ptr<Socket> socket, std::shared_ptr<api::ListenerBackend> listener, std::shared_ptr<EventWish> wish);

} // namespace incus::rest
