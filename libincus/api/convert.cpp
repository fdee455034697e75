// SPDX-License-Identifier: Apache-2.0
#include "api/convert.hpp"

#include "api/json_text.hpp"
#include "api/records.hpp"
#include "base/names.hpp"

namespace incus::api {

void wrong_type(const std::string &where, const char *wanted) {
  base::fail(ErrorCode::invalid_argument, "invalid value of {}: must be {}", where.empty() ? "the document" : base::quoted(where), wanted);
}

json::value parse_json(std::string_view text, const char *what) {
  json::parse_options opt;
  opt.max_depth = 64;
  boost::system::error_code ec;
  auto v = json::parse(json::string_view(text.data(), text.size()), ec, {}, opt);
  if (ec) base::fail(ErrorCode::invalid_argument, "invalid JSON in {}: {}", what, ec.message());
  return v;
}

json::value to_json_instance(const InstanceInfo &info, const json::storage_ptr &sp) {
  auto v = to_json(info, sp);
  if (info.last_used_at == Time{}) v.get_object()["last_used_at"] = never_used;
  return v;
}

json::value to_json_state(const InstanceState &state, const json::storage_ptr &sp) {
  auto v = to_json(state, sp);
  auto &o = v.get_object();
  if (state.network.empty()) o["network"] = nullptr;
  o.emplace("os_info", nullptr);
  return v;
}

json::value to_json_full(const InstanceFull &full, const json::storage_ptr &sp) {
  auto v = to_json_instance(full.info, sp);
  auto &o = v.get_object();
  o.emplace("backups", nullptr);
  o.emplace("state", full.state ? to_json_state(*full.state, sp) : json::value(nullptr, sp));
  if (full.snapshots.empty())
    o.emplace("snapshots", nullptr);
  else
    o.emplace("snapshots", to_json(full.snapshots, sp));
  return v;
}

InstanceFull full_from_json(const json::value &j) {
  InstanceFull f;
  f.info = from_json<InstanceInfo>(j);
  auto &o = j.as_object();
  if (auto *s = o.if_contains("state")) from_json(*s, f.state, "state");
  if (f.state && o.at("state").is_null()) f.state.reset();
  if (auto *s = o.if_contains("snapshots")) from_json(*s, f.snapshots, "snapshots");
  return f;
}

} // namespace incus::api
