// SPDX-License-Identifier: Apache-2.0
// The one converter between JSON and records. A record lists its (JSON name, member) pairs once, in records.hpp.
// As in Incus: absent and null give the default, unknown fields are ignored, a wrong type is an error that names the field.
#pragma once
#include <boost/json.hpp>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <type_traits>
#include <vector>

#include <incus/types.hpp>

#include "base/error.hpp"
#include "base/time.hpp"

namespace incus::api {

namespace json = boost::json;

template <class C, class M> struct Field {
  const char *name;
  M C::*member;
  bool omit_empty = false;
};
template <class C, class M> constexpr Field<C, M> field(const char *name, M C::*member) { return {name, member, false}; }
/// Left out of the output when it is empty or zero.
template <class C, class M> constexpr Field<C, M> field_opt(const char *name, M C::*member) { return {name, member, true}; }

/// Specialise with `static constexpr auto fields = std::make_tuple(field(...), ...)`.
template <class T> struct Record;

template <class T>
concept IsRecord = requires { Record<T>::fields; };

template <class T> struct is_vector : std::false_type {};
template <class T> struct is_vector<std::vector<T>> : std::true_type {};
template <class T> struct is_map : std::false_type {};
template <class T> struct is_map<std::map<std::string, T>> : std::true_type {};
template <class T> struct is_optional : std::false_type {};
template <class T> struct is_optional<std::optional<T>> : std::true_type {};

template <class T> bool is_empty(const T &v) {
  if constexpr (requires { v.empty(); })
    return v.empty();
  else if constexpr (std::is_arithmetic_v<T>)
    return v == T{};
  else if constexpr (is_optional<T>::value)
    return !v;
  else
    return false;
}

/// Parses with limits on depth; throws invalid_argument that names `what`.
json::value parse_json(std::string_view text, const char *what);

template <class T> json::value to_json(const T &v, const json::storage_ptr &sp = {}) {
  if constexpr (std::is_same_v<T, bool> || std::is_floating_point_v<T>) {
    return json::value(v, sp);
  } else if constexpr (std::is_integral_v<T>) {
    if constexpr (std::is_signed_v<T>)
      return json::value(static_cast<std::int64_t>(v), sp);
    else
      return json::value(static_cast<std::uint64_t>(v), sp);
  } else if constexpr (std::is_same_v<T, std::string>) {
    return json::value(json::string(v, sp));
  } else if constexpr (std::is_same_v<T, Time>) {
    return json::value(json::string(base::format_time(v), sp));
  } else if constexpr (std::is_same_v<T, Json>) {
    return v.text.empty() ? json::value(nullptr, sp) : json::value(parse_json(v.text, "document"), sp);
  } else if constexpr (std::is_same_v<T, json::value>) {
    return json::value(v, sp);
  } else if constexpr (is_optional<T>::value) {
    return v ? to_json(*v, sp) : json::value(nullptr, sp);
  } else if constexpr (is_vector<T>::value) {
    json::array a(sp);
    a.reserve(v.size());
    for (auto &e : v) a.push_back(to_json(e, sp));
    return json::value(std::move(a));
  } else if constexpr (is_map<T>::value) {
    json::object o(sp);
    o.reserve(v.size());
    for (auto &[k, e] : v) o.emplace(k, to_json(e, sp));
    return json::value(std::move(o));
  } else {
    static_assert(IsRecord<T>, "no Record<T> lists the fields of this type");
    json::object o(sp);
    o.reserve(std::tuple_size_v<decltype(Record<T>::fields)>);
    std::apply(
        [&](const auto &...f) {
          (
              [&](const auto &one) {
                const auto &m = v.*(one.member);
                if (one.omit_empty && is_empty(m)) return;
                o.emplace(one.name, to_json(m, sp));
              }(f),
              ...);
        },
        Record<T>::fields);
    return json::value(std::move(o));
  }
}

[[noreturn]] void wrong_type(const std::string &where, const char *wanted);

template <class T> void from_json(const json::value &j, T &out, const std::string &where) {
  if constexpr (std::is_same_v<T, json::value>) {
    out = j;
  } else if constexpr (std::is_same_v<T, Json>) {
    out.text = j.is_null() ? "" : json::serialize(j);
  } else {
    if (j.is_null()) {
      out = T{};
      return;
    }
    if constexpr (std::is_same_v<T, bool>) {
      if (!j.is_bool()) wrong_type(where, "true or false");
      out = j.get_bool();
    } else if constexpr (std::is_floating_point_v<T>) {
      if (!j.is_number()) wrong_type(where, "a number");
      out = j.to_number<T>();
    } else if constexpr (std::is_integral_v<T>) {
      if (j.is_int64() && std::in_range<T>(j.get_int64()))
        out = static_cast<T>(j.get_int64());
      else if (j.is_uint64() && std::in_range<T>(j.get_uint64()))
        out = static_cast<T>(j.get_uint64());
      else
        wrong_type(where, "a whole number in range");
    } else if constexpr (std::is_same_v<T, std::string>) {
      if (!j.is_string()) wrong_type(where, "a string");
      out.assign(j.get_string().data(), j.get_string().size());
    } else if constexpr (std::is_same_v<T, Time>) {
      if (!j.is_string()) wrong_type(where, "a time");
      out = base::parse_time(j.get_string());
    } else if constexpr (is_optional<T>::value) {
      from_json(j, out.emplace(), where);
    } else if constexpr (is_vector<T>::value) {
      if (!j.is_array()) wrong_type(where, "a list");
      out.clear();
      out.reserve(j.get_array().size());
      for (auto &e : j.get_array()) from_json(e, out.emplace_back(), where + "[]");
    } else if constexpr (is_map<T>::value) {
      if (!j.is_object()) wrong_type(where, "an object");
      out.clear();
      for (auto &kv : j.get_object()) {
        // What we wrote ourselves is in order: every key goes to the end.
        auto at = out.emplace_hint(out.end(), std::string(kv.key()), typename T::mapped_type{});
        if constexpr (std::is_same_v<typename T::mapped_type, std::string>) {
          if (auto *s = kv.value().if_string()) {
            at->second.assign(s->data(), s->size());
            continue;
          }
        }
        from_json(kv.value(), at->second, where.empty() ? std::string(kv.key()) : where + "." + std::string(kv.key()));
      }
    } else {
      static_assert(IsRecord<T>, "no Record<T> lists the fields of this type");
      if (!j.is_object()) wrong_type(where, "an object");
      auto &o = j.get_object();
      std::apply(
          [&](const auto &...f) {
            (
                [&](const auto &one) {
                  if (auto *v = o.if_contains(one.name)) from_json(*v, out.*(one.member), where.empty() ? std::string(one.name) : where + "." + one.name);
                }(f),
                ...);
          },
          Record<T>::fields);
    }
  }
}

template <class T> T from_json(const json::value &j) {
  T out{};
  from_json(j, out, "");
  return out;
}

} // namespace incus::api
