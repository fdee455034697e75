// SPDX-License-Identifier: Apache-2.0
#include "api/call.hpp"

#include <algorithm>
#include <cerrno>
#include <unistd.h>

#include "api/records.hpp"
#include "base/error.hpp"
#include "base/names.hpp"

namespace incus::api {

Request at(std::vector<std::string> path, const std::string &project) {
  Request r;
  r.path = std::move(path);
  if (!project.empty() && project != "default") r.query["project"] = project;
  return r;
}

Request with_body(Request request, json::value body, const Etag &if_match) {
  request.body = std::move(body);
  request.if_match = if_match;
  return request;
}

Request with_query(Request request, std::string key, std::string value) {
  request.query[std::move(key)] = std::move(value);
  return request;
}

namespace {

Session &live(const SessionPtr &session) {
  if (!session) base::fail(ErrorCode::unavailable, "this handle is empty: it was moved from");
  return *session;
}

} // namespace

Reply perform(const SessionPtr &session, RowId id, Request request) { return live(session).perform(id, std::move(request)); }

Operation begin(const SessionPtr &session, RowId id, Request request) { return guarded(session, perform(session, id, std::move(request)).operation); }

std::string name_from_url(const std::string &url) {
  std::string path = url.substr(0, url.find('?'));
  if (auto m = match("GET", path); m && !m->values.empty()) return m->values.back();
  return path.substr(path.rfind('/') + 1);
}

std::string bytes_of(Reply &reply) {
  // A door that has text already gives it as a document.
  if (reply.bodies.empty() && reply.metadata.is_string()) return std::string(reply.metadata.get_string());
  std::string out;
  for (auto &body : reply.bodies)
    for (char buf[16384];;) {
      auto n = ::read(body.fd.get(), buf, sizeof buf);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) base::fail_errno(errno, "cannot read the answer");
      if (n == 0) break;
      out.append(buf, static_cast<std::size_t>(n));
    }
  return out;
}

std::vector<std::string> names_from_urls(const json::value &urls) {
  auto list = from_json<std::vector<std::string>>(urls);
  for (auto &u : list) u = name_from_url(u);
  return list;
}

std::string resource_name(const OperationInfo &info, const char *kind) {
  auto it = info.resources.find(kind);
  return it == info.resources.end() || it->second.empty() ? std::string() : name_from_url(it->second.front());
}

json::value operation_list(const json::value &metadata) {
  if (!metadata.is_object()) return metadata;
  json::array all;
  for (auto &kv : metadata.get_object())
    if (kv.value().is_array())
      for (auto &op : kv.value().get_array()) all.push_back(op);
  return all;
}

namespace {

int hex(char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1; }

std::string decode_query(std::string_view t) {
  std::string out;
  for (std::size_t i = 0; i < t.size(); i++) {
    if (t[i] == '+') {
      out += ' ';
    } else if (t[i] != '%') {
      out += t[i];
    } else {
      int a = i + 2 < t.size() ? hex(t[i + 1]) : -1, b = i + 2 < t.size() ? hex(t[i + 2]) : -1;
      if (a < 0 || b < 0)
        base::fail(ErrorCode::invalid_argument, "invalid URL escape in query {}: must be % and two hexadecimal digits", base::quoted(t));
      out += static_cast<char>(a * 16 + b);
      i += 2;
    }
  }
  return out;
}

} // namespace

std::pair<const Row *, Request> route(const std::string &method, const std::string &path_and_query) {
  std::string_view all = path_and_query;
  auto cut = all.find('?');
  auto path = all.substr(0, cut);
  bool known = false;
  auto m = match(method, path, &known);
  if (!m && known) base::fail(ErrorCode::not_supported, "{} cannot be used on {}", base::quoted(method), base::quoted(path));
  if (!m) base::fail(ErrorCode::not_found, "there is nothing at {} in the API", base::quoted(path));
  Request r;
  r.path = std::move(m->values);
  auto query = cut == std::string_view::npos ? std::string_view() : all.substr(cut + 1);
  while (!query.empty()) {
    auto end = query.find('&');
    auto pair = query.substr(0, end);
    auto eq = pair.find('=');
    if (!pair.empty()) r.query[decode_query(pair.substr(0, eq))] = eq == std::string_view::npos ? std::string() : decode_query(pair.substr(eq + 1));
    if (end == std::string_view::npos) break;
    query.remove_prefix(end + 1);
  }
  return {m->row, std::move(r)};
}

InstanceSource image_source(const SessionPtr &session, const std::string &image, const std::string &project) {
  InstanceSource s;
  s.type = "image";
  if (image.empty()) base::fail(ErrorCode::invalid_argument, "no image was named: give the alias or fingerprint of one");
  bool all_hex = std::all_of(image.begin(), image.end(), [](char c) { return hex(c) >= 0; });
  try {
    auto alias = from_json<ImageAliasInfo>(perform(session, RowId::alias_get, at({image}, project)).metadata);
    s.fingerprint = alias.target;
  } catch (const Error &e) {
    if (e.code() != ErrorCode::not_found) throw;
    if (!all_hex) base::fail(ErrorCode::not_found, "no image has the alias {}: import it, or name one that images() lists", base::quoted(image));
    s.fingerprint = image;
  }
  return s;
}

std::int64_t drain(const Reply &reply, const std::string &what, const char *cut, const std::function<void(std::string_view)> &take) {
  auto &body = reply.bodies.front();
  std::string piece(256 * 1024, '\0');
  std::int64_t done = 0;
  for (;;) {
    auto n = ::read(body.fd.get(), piece.data(), piece.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) base::fail_errno(errno, "cannot read " + what);
    if (n == 0) break;
    take(std::string_view(piece).substr(0, static_cast<std::size_t>(n)));
    done += n;
  }
  if (body.size >= 0 && done != body.size) base::fail(ErrorCode::unavailable, "cannot read all of {}: it ended after {} of {} bytes{}", what, done, body.size, cut);
  return done;
}

json::object move_body(json::object body, const std::string &name) {
  auto *n = body.if_contains("name");
  if (!n || n->is_null() || (n->is_string() && n->get_string().empty())) body["name"] = name;
  if (body.size() > 1) body["migration"] = true;
  return body;
}

} // namespace incus::api
