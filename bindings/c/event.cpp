// SPDX-License-Identifier: Apache-2.0
#include "api/records.hpp"
#include "common.hpp"

using namespace incus;
using namespace incus::c;

extern "C" {

incus_status incus_host_listen(incus_host *host, const char *types, size_t capacity, incus_listener **listener, incus_error **err) {
  return guard(err, [&] {
    need(listener, "listener");
    std::vector<std::string> wanted;
    std::string all = optional(types);
    for (std::size_t at = 0; at < all.size();) {
      auto end = std::min(all.find(',', at), all.size());
      if (end > at) wanted.push_back(all.substr(at, end - at));
      at = end + 1;
    }
    *listener = new incus_listener{need(host, "host").host.listen(wanted, capacity ? capacity : 1024)};
  });
}

incus_status incus_listener_next(incus_listener *listener, int64_t timeout, char **json, incus_error **err) {
  return guard(err, [&] {
    need(json, "json");
    auto found = need(listener, "listener").listener.next(std::chrono::milliseconds(std::max<int64_t>(timeout, 0)));
    if (!found) {
      *json = nullptr;
      return;
    }
    Text t(json::serialize(api::to_json(*found)));
    t.give(json);
  });
}

incus_status incus_listener_overflowed(incus_listener *listener, int *overflowed, incus_error **err) {
  return guard(err, [&] {
    need(overflowed, "overflowed");
    *overflowed = need(listener, "listener").listener.overflowed();
  });
}

incus_status incus_listener_close(incus_listener *listener, incus_error **err) {
  return guard(err, [&] { need(listener, "listener").listener.close(); });
}

void incus_listener_free(incus_listener *listener) { delete listener; }

} // extern "C"
