// SPDX-License-Identifier: Apache-2.0
// Fields of a body that has no record of its own.
#pragma once
#include "api/records.hpp"

namespace incus::embed {

/// What the field says; nothing when it is absent or null. Throws invalid_argument when it is of another type.
template <class T> T field_of(const boost::json::object &body, const char *key) {
  auto *v = body.if_contains(key);
  return v && !v->is_null() ? api::from_json<T>(*v) : T();
}
inline std::string text_of(const boost::json::object &body, const char *key) { return field_of<std::string>(body, key); }
inline bool flag_of(const boost::json::object &body, const char *key) { return field_of<bool>(body, key); }
inline bool flag_of(const boost::json::value &body, const char *key) { return body.is_object() && flag_of(body.get_object(), key); }

} // namespace incus::embed
