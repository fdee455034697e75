// SPDX-License-Identifier: Apache-2.0
#include <boost/json.hpp>

#include "api/records_resources.hpp"
#include "embed/engine.hpp"

namespace incus::embed {

api::Reply Engine::resources_get(api::Request &) {
  namespace res = sys::resources;
  boost::json::object o;
  o["cpu"] = api::to_json(res::cpu());
  o["memory"] = api::to_json(res::memory());
  o["gpu"] = api::to_json(res::gpu());
  o["network"] = api::to_json(res::network());
  o["storage"] = api::to_json(res::storage());
  o["usb"] = api::to_json(res::usb());
  o["pci"] = api::to_json(res::pci());
  o["system"] = api::to_json(res::system());
  o["load"] = api::to_json(res::load());
  return {std::move(o), {}, {}};
}

} // namespace incus::embed
