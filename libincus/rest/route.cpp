// SPDX-License-Identifier: Apache-2.0
#include "rest/route.hpp"

#include <boost/json.hpp>

#include "api/call.hpp"
#include "api/filter.hpp"
#include "base/error.hpp"
#include "base/names.hpp"

namespace incus::rest {

namespace json = boost::json;

namespace {

bool same_word(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](unsigned char x, unsigned char y) { return std::tolower(x) == std::tolower(y); });
}

/// The URL of a record in the list that a row answers.
std::string url_of(const api::Row &row, const std::vector<std::string> &path, const json::object &o, const std::string &project) {
  std::string out, pattern = row.path;
  std::size_t value = 0;
  for (std::size_t i = 0; i < pattern.size(); i++) {
    if (pattern[i] == '{') {
      out += path.at(value++);
      i = pattern.find('}', i);
    } else {
      out += pattern[i];
    }
  }
  for (auto *key : {"fingerprint", "uuid", "id", "name"})
    if (auto *v = o.if_contains(key); v && v->is_string()) {
      // Volumes have their type before their name.
      if (row.id == api::RowId::pool_volumes_get)
        if (auto *t = o.if_contains("type"); t && t->is_string()) out += "/" + std::string(t->get_string());
      out += "/" + std::string(v->get_string());
      break;
    }
  std::string own = project;
  if (auto *p = o.if_contains("project"); p && p->is_string() && !p->get_string().empty()) own = std::string(p->get_string());
  if (own != "default" && row.access == api::Access::project) out += "?project=" + own;
  return out;
}

bool is_list(const api::Row &row) { return std::string_view(row.reply).ends_with("[]"); }

} // namespace

bool Head::upgrade_to(std::string_view protocol) const {
  auto c = header("connection");
  bool asked = false;
  for (std::string_view rest = c; !rest.empty();) {
    auto cut = rest.find(',');
    auto word = rest.substr(0, cut);
    while (!word.empty() && word.front() == ' ') word.remove_prefix(1);
    while (!word.empty() && word.back() == ' ') word.remove_suffix(1);
    if (same_word(word, "upgrade")) asked = true;
    if (cut == std::string_view::npos) break;
    rest.remove_prefix(cut + 1);
  }
  return asked && same_word(header("upgrade"), protocol);
}

std::map<std::string, std::string> meaningful(const Head &head) {
  std::map<std::string, std::string> out;
  for (auto &[k, v] : head.headers)
    if (k.starts_with("x-incus-") || k == "content-type" || k == "accept" || k == "content-length" || k == "range" || k == "user-agent" || k == "host")
      out.emplace(k, v);
  return out;
}

Routed route(const Head &head) {
  Routed r;
  std::string_view target = head.target;
  // A proxy's form: scheme and host come first.
  if (auto scheme = target.find("://"); scheme != std::string_view::npos && scheme < target.find('/')) {
    auto slash = target.find('/', scheme + 3);
    target = slash == std::string_view::npos ? std::string_view("/") : target.substr(slash);
  }
  auto path = target.substr(0, target.find('?'));
  bool known = false;
  auto method = head.method;
  auto m = api::match(method, path, &known);
  if (!m && method == "HEAD") {
    m = api::match("GET", path, &known);
    r.head_only = true;
  }
  if (!m && known) base::fail(ErrorCode::not_supported, "{} cannot be used on {}", base::quoted(method), base::quoted(path));
  if (!m) base::fail(ErrorCode::not_found, "Not Found: there is nothing at {} in the API", base::quoted(path));
  auto [row, request] = api::route(r.head_only ? "GET" : method, std::string(target));
  for (auto &value : request.path)
    if (value.empty() || value.find('\0') != std::string::npos || value == "." || value == "..")
      base::fail(ErrorCode::invalid_argument, "name {} in the path is not valid", base::quoted(value));
  for (auto &[k, v] : request.query)
    if (k.find('\0') != std::string::npos || v.find('\0') != std::string::npos)
      base::fail(ErrorCode::invalid_argument, "invalid query: {} holds a NUL", base::quoted(k));
  r.row = row;
  r.request = std::move(request);
  r.request.headers = meaningful(head);
  auto tag = head.header("if-match");
  if (tag.starts_with("W/")) tag.erase(0, 2);
  if (tag.size() >= 2 && tag.front() == '"' && tag.back() == '"') tag = tag.substr(1, tag.size() - 2);
  if (tag != "*") r.request.if_match = tag;
  return r;
}

void check_origin(const Head &head, const std::string &allowed) {
  auto it = head.headers.find("origin");
  if (it == head.headers.end() || it->second == allowed || (allowed == "*" && head.method == "GET" && !head.upgrade_to("websocket"))) return;
  std::string_view origin = it->second;
  auto scheme = origin.find("://");
  if (scheme != std::string_view::npos && origin.substr(scheme + 3) == head.header("host")) return;
  base::fail(ErrorCode::forbidden, "requests of other sites ({}) are refused: core.https_allowed_origin names the one that may send them", base::quoted(origin));
}

api::Reply perform(api::Session &session, const api::Row &row, api::Request request) {
  auto wanted = request.query.find("filter");
  if (wanted == request.query.end() || wanted->second.empty() || !is_list(row)) return session.perform(row.id, std::move(request));
  auto filter = api::Filter::parse(wanted->second);
  bool urls = request.recursion() == 0;
  if (urls) request.query["recursion"] = "1";
  auto path = request.path;
  auto project = request.project();
  auto reply = session.perform(row.id, std::move(request));
  auto *list = reply.metadata.if_array();
  if (!list) return reply;
  json::array out(list->storage());
  for (auto &v : *list) {
    auto *o = v.if_object();
    if (!o || !filter.matches(*o)) continue;
    if (urls)
      out.emplace_back(url_of(row, path, *o, project));
    else
      out.push_back(std::move(v));
  }
  reply.metadata = std::move(out);
  return reply;
}

} // namespace incus::rest
