// SPDX-License-Identifier: Apache-2.0
#include "remote/door.hpp"

#include <boost/json.hpp>
#include <unistd.h>

#include "api/call.hpp"
#include "api/convert.hpp"
#include "base/error.hpp"
#include "base/names.hpp"
#include "remote/attached.hpp"
#include "remote/events.hpp"
#include "remote/tls.hpp"
#include "remote/transfer.hpp"

namespace incus::remote {

using api::Kind;
using api::Reply;
using api::Request;
using api::Row;
using api::RowId;

namespace {

constexpr std::size_t console_limit = 16u << 20;

/// Some synchronous calls do work before they answer.
constexpr auto usual_patience = std::chrono::minutes(10);

Patience patience_of(const Row &row) {
  if (row.id == RowId::operation_wait_get || row.id == RowId::internal_shutdown_put || row.id == RowId::instance_ready_get) return {};
  return std::chrono::duration_cast<Milliseconds>(usual_patience);
}

void take_headers(Reply &reply, const Head &head) {
  reply.etag = head.header("etag");
  reply.location = head.header("location");
  if (head.status != 200 && head.status != 202) reply.status = head.status;
  for (auto &[k, v] : head.headers)
    if (k.starts_with("x-incus-") || k == "content-type" || k == "content-disposition" || k == "content-length") reply.headers[k] = v;
}

} // namespace

std::string target_of(const Row &row, const Request &request) {
  std::string out;
  std::string_view path = row.path;
  std::size_t at = 0, value = 0;
  while (at < path.size()) {
    auto open = path.find('{', at);
    out += path.substr(at, open == path.npos ? path.npos : open - at);
    if (open == path.npos) break;
    at = path.find('}', open) + 1;
    if (value >= request.path.size()) base::fail(ErrorCode::internal, "a call of {} {} misses a part of its path", row.method, row.path);
    auto &v = request.path[value++];
    // An empty or a dot component would make another path of it on the way.
    if (v.empty() || v == "." || v == "..") base::fail(ErrorCode::invalid_argument, "invalid name {}: it is not valid as a part of a URL", base::quoted(v));
    out += escape(v);
  }
  auto q = query_string(request.query);
  return q.empty() ? out : out + "?" + q;
}

Outgoing outgoing(const Row &row, const Request &request) {
  Outgoing o;
  o.method = row.method;
  o.target = target_of(row, request);
  o.headers = request.headers;
  for (auto &[k, v] : o.headers)
    if (!base::is_one_line(k) || !base::is_one_line(v) || k.find_first_of(": \t") != k.npos)
      base::fail(ErrorCode::invalid_argument, "invalid header {}: it must stand on one line", base::quoted(k));
  if (!request.if_match.empty()) {
    if (!base::is_one_line(request.if_match)) base::fail(ErrorCode::invalid_argument, "invalid etag {}", base::quoted(request.if_match));
    o.headers["if-match"] = request.if_match;
  }
  if (!request.body.is_null()) {
    o.body = json::serialize(request.body);
    o.headers.try_emplace("content-type", "application/json");
  }
  return o;
}

RemoteDoor::RemoteDoor(const std::string &uri, const OpenOptions &options)
    : client_(std::make_shared<Client>(parse_target(uri, options), options.log)), tracker_(std::make_shared<Tracker>(client_)) {
  auto server = client_->call("GET", "/1.0");
  auto *o = server.metadata.if_object();
  auto *auth = o ? o->if_contains("auth") : nullptr;
  if (!o || !auth) base::fail(ErrorCode::not_supported, "the server at {} is not one of Incus", base::quoted(client_->pool.target().name()));
  if (!options.trust_token.empty() && auth->is_string() && auth->get_string() != "trusted") join(options);
}

RemoteDoor::~RemoteDoor() { close(); }

void RemoteDoor::join(const OpenOptions &options) {
  auto &tls = client_->pool.target().tls;
  if (!tls || tls->certificate().empty())
    base::fail(ErrorCode::invalid_argument, "a trust token needs a client certificate to be trusted: give client_certificate and client_key, or make client.crt and "
                                            "client.key in the configuration directory");
  auto token = read_trust_token(options.trust_token);
  json::object body{{"type", "client"}, {"trust_token", options.trust_token}};
  if (!token.client_name.empty()) body["name"] = token.client_name;
  try {
    client_->call("POST", "/1.0/certificates", std::move(body));
  } catch (const Error &e) {
    // Somebody else used it for the same certificate meanwhile.
    if (e.code() != ErrorCode::already_exists) throw Error(e.code(), fmt::format("cannot join {} with the trust token", base::quoted(client_->pool.target().name())), e);
  }
}

Reply RemoteDoor::perform(const Row &row, Request request) {
  try {
    return once(row, request);
  } catch (const Error &e) {
    // Handles take aliases of images wherever they take fingerprints; the official server does not.
    if (e.code() != ErrorCode::not_found || !std::string_view(row.path).starts_with("/1.0/images/{fingerprint}") || request.path.empty()) throw;
    if (request.path[0].find_first_not_of("0123456789abcdef") == std::string::npos) throw;
    Request alias;
    alias.path = {request.path[0]};
    if (auto it = request.query.find("project"); it != request.query.end()) alias.query["project"] = it->second;
    std::string target;
    try {
      auto found = plain(api::row(RowId::alias_get), alias).metadata;
      auto *o = found.if_object();
      auto *t = o ? o->if_contains("target") : nullptr;
      if (t && t->is_string()) target = std::string(t->get_string());
    } catch (const Error &) {
      // No alias either: the first answer stands.
    }
    if (target.empty()) throw;
    request.path[0] = target;
  }
  return once(row, request);
}

Reply RemoteDoor::once(const Row &row, Request &request) {
  switch (row.id) {
  case RowId::instance_exec_post:
  case RowId::instance_console_post:
    if (wants_attachment(row, request)) return attach(row, request);
    break;
  case RowId::images_post:
    if (!request.streams.empty()) return upload_image(row, request);
    break;
  case RowId::image_export_get:
    if (!request.streams.empty()) return export_image(row, request);
    break;
  case RowId::instance_sftp_get: return sftp(row, request);
  case RowId::instance_ready_get:
    try {
      return plain(row, request);
    } catch (const Error &e) {
      if (e.code() != ErrorCode::not_found) throw;
    }
    wait_ready(row, request);
    return {};
  case RowId::events_get:
  case RowId::operation_websocket_get:
    base::fail(ErrorCode::not_supported, "{} is a websocket: use listen() for events, descriptors for commands", row.path);
  default: break;
  }
  return plain(row, request);
}

Reply RemoteDoor::plain(const Row &row, Request &request) {
  auto o = outgoing(row, request);
  if (int fd = request.stream("body"); fd >= 0) {
    o.body.clear();
    body_from_descriptor(o, fd);
    o.headers.try_emplace("content-type", "application/octet-stream");
  }
  auto patience = patience_of(row);
  if (row.kind != Kind::stream) return from_answer(row, client_->call(std::move(o), patience), request.want_operation);
  Head head;
  std::optional<Answer> answer;
  auto lease = client_->stream(o, patience, head, answer);
  if (answer) return from_answer(row, std::move(*answer));
  Reply reply;
  if (row.id == RowId::instance_console_get) {
    // A short text, which handles take as a value.
    take_headers(reply, head);
    reply.metadata = json::string(client_->read_all(lease, head, console_limit, patience));
    return reply;
  }
  bodies(reply, std::move(lease), head);
  return reply;
}

Reply RemoteDoor::from_answer(const Row &row, Answer answer, bool want_operation) {
  Reply reply;
  take_headers(reply, answer.head);
  if (answer.type == Answer::Type::async) {
    auto begun = operation_from_json(answer.metadata);
    // A token is an operation that lasts as long as the token.
    bool lasting = begun.class_ == "token";
    auto op = std::make_shared<RemoteOperation>(client_, std::move(begun));
    if (row.kind == Kind::sync && !lasting && !want_operation) {
      // A server of another version makes an operation of it; who called expects the work to be done.
      op->wait(std::nullopt);
      op->rethrow();
      return reply;
    }
    if (!op->ended()) tracker_->add(op);
    reply.metadata = std::move(answer.metadata);
    reply.operation = std::move(op);
    return reply;
  }
  reply.metadata = std::move(answer.metadata);
  if (row.kind == Kind::async) reply.operation = api::finished_operation(fmt::format("{} {}", row.method, row.path));
  if (row.id == RowId::operation_get) {
    auto op = std::make_shared<RemoteOperation>(client_, operation_from_json(reply.metadata));
    if (!op->ended()) tracker_->add(op);
    reply.operation = std::move(op);
  }
  return reply;
}

void RemoteDoor::bodies(Reply &reply, Pool::Lease lease, const Head &head) {
  take_headers(reply, head);
  reply.bodies = bodies_of(client_, std::move(lease), head);
}

std::shared_ptr<api::ListenerBackend> RemoteDoor::listen(const std::vector<std::string> &types, std::size_t capacity) {
  return remote::listen(client_, types, capacity);
}

void RemoteDoor::close() {
  client_->pool.close();
  client_->crew.close();
}

} // namespace incus::remote
