// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "api/convert.hpp"
#include "db/warnings.hpp"

namespace incus::api {

struct WarningUpdate {
  std::string status;
};
struct WarningCreate {
  std::string location, project, message;
  int entity_type_code = -1, type_code = 0;
  std::int64_t entity_id = -1;
};

template <> struct Record<WarningUpdate> {
  static constexpr auto fields = std::make_tuple(field("status", &WarningUpdate::status));
};
template <> struct Record<WarningCreate> {
  using T = WarningCreate;
  static constexpr auto fields = std::make_tuple(field("location", &T::location), field("project", &T::project), field("entity_type_code", &T::entity_type_code),
                                                 field("entity_id", &T::entity_id), field("type_code", &T::type_code), field("message", &T::message));
};
template <> struct Record<db::WarningRow> {
  using T = db::WarningRow;
  static constexpr auto fields =
      std::make_tuple(field("status", &T::status), field("uuid", &T::uuid), field("location", &T::location), field("project", &T::project), field("type", &T::type),
                      field("count", &T::count), field("first_seen_at", &T::first_seen_at), field("last_seen_at", &T::last_seen_at),
                      field("last_message", &T::last_message), field("severity", &T::severity), field("entity_url", &T::entity_url));
};

} // namespace incus::api
