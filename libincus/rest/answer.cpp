// SPDX-License-Identifier: Apache-2.0
#include "rest/answer.hpp"

#include <boost/beast/zlib/deflate_stream.hpp>
#include <boost/crc.hpp>

#include "api/records.hpp"
#include "base/error.hpp"

namespace incus::rest {

namespace json = boost::json;

namespace {

void append(std::string &out, const json::value &v) {
  json::serializer s;
  s.reset(&v);
  std::size_t room = 4096;
  while (!s.done()) {
    auto at = out.size();
    out.resize(at + room);
    auto part = s.read(out.data() + at, room);
    out.resize(at + part.size());
    room = std::max<std::size_t>(room, out.size());
  }
}

std::string text(const std::string &t) { return json::serialize(json::value(t)); }

/// A header's value may not end its line.
std::string one_line(std::string v) {
  std::erase_if(v, [](char c) { return c == '\r' || c == '\n' || c == '\0'; });
  return v;
}

} // namespace

constexpr const char *success = R"({"type":"sync","status":"Success","status_code":200,"operation":"","error_code":0,"error":"","metadata":)";

Answer sync_text(const std::string &metadata) {
  Answer a;
  a.body.reserve(metadata.size() + 160);
  a.body += success;
  a.body += metadata;
  a.body += "}\n";
  return a;
}

Answer sync(const json::value &metadata, int status) {
  Answer a;
  a.status = status;
  a.body = success;
  if (metadata.is_null())
    a.body += "{}";
  else
    append(a.body, metadata);
  a.body += "}\n";
  return a;
}

json::value operation_json(const OperationInfo &operation, const json::object &extra) {
  auto v = api::to_json(operation);
  if (!extra.empty()) {
    auto &m = v.as_object()["metadata"];
    if (!m.is_object()) m = json::object();
    for (auto &kv : extra) m.as_object()[kv.key()] = kv.value();
  }
  return v;
}

Answer async(const OperationInfo &operation) { return async(operation, {}); }

Answer async(const OperationInfo &operation, const json::object &extra) {
  Answer a;
  a.status = 202;
  auto url = "/1.0/operations/" + operation.id;
  a.headers["Location"] = url;
  a.body = R"({"type":"async","status":"Operation created","status_code":100,"operation":)" + text(url) + R"(,"error_code":0,"error":"","metadata":)";
  append(a.body, operation_json(operation, extra));
  a.body += "}\n";
  return a;
}

Answer failure(int status, const std::string &message) {
  Answer a;
  a.status = status;
  a.body = fmt::format(R"({{"type":"error","status":"","status_code":0,"operation":"","error_code":{},"error":{},"metadata":null}})"
                       "\n",
                       status, text(message));
  return a;
}

Answer failure(const std::exception &e) {
  auto *known = dynamic_cast<const Error *>(&e);
  if (!known) return failure(500, e.what());
  auto a = failure(http_status(known->code()), e.what());
  // One HTTP status stands for several codes: a client of this library learns which.
  a.headers["X-Libincus-Error"] = error_code_name(known->code());
  return a;
}

const char *reason(int status) noexcept {
  switch (status) {
  case 101: return "Switching Protocols";
  case 200: return "OK";
  case 201: return "Created";
  case 202: return "Accepted";
  case 204: return "No Content";
  case 301: return "Moved Permanently";
  case 304: return "Not Modified";
  case 400: return "Bad Request";
  case 401: return "Unauthorized";
  case 403: return "Forbidden";
  case 404: return "Not Found";
  case 405: return "Method Not Allowed";
  case 408: return "Request Timeout";
  case 409: return "Conflict";
  case 412: return "Precondition Failed";
  case 413: return "Request Entity Too Large";
  case 415: return "Unsupported Media Type";
  case 422: return "Unprocessable Entity";
  case 423: return "Locked";
  case 429: return "Too Many Requests";
  case 431: return "Request Header Fields Too Large";
  case 499: return "Client Closed Request";
  case 500: return "Internal Server Error";
  case 501: return "Not Implemented";
  case 503: return "Service Unavailable";
  case 504: return "Gateway Timeout";
  case 507: return "Insufficient Storage";
  default: return "Status";
  }
}

std::string head(const Answer &a, std::int64_t length, bool keep_alive, bool http_1_0) {
  std::string out;
  out.reserve(256);
  fmt::format_to(std::back_inserter(out), "HTTP/1.1 {} {}\r\n", a.status, reason(a.status));
  if (a.json && !a.headers.contains("Content-Type")) out += "Content-Type: application/json\r\nX-Content-Type-Options: nosniff\r\n";
  for (auto &[k, v] : a.headers) fmt::format_to(std::back_inserter(out), "{}: {}\r\n", one_line(k), one_line(v));
  if (length >= 0)
    fmt::format_to(std::back_inserter(out), "Content-Length: {}\r\n", length);
  else if (!http_1_0)
    out += "Transfer-Encoding: chunked\r\n";
  if (!keep_alive)
    out += "Connection: close\r\n";
  else if (http_1_0)
    out += "Connection: keep-alive\r\n";
  out += "\r\n";
  return out;
}

void gzip(Answer &a) {
  namespace zlib = boost::beast::zlib;
  zlib::deflate_stream deflate;
  deflate.reset(1, 15, 8, zlib::Strategy::normal);
  std::string out("\x1f\x8b\x08\0\0\0\0\0\0\xff", 10);
  auto start = out.size();
  out.resize(start + deflate.upper_bound(a.body.size()) + 64);
  zlib::z_params z;
  z.next_in = a.body.data();
  z.avail_in = a.body.size();
  z.next_out = out.data() + start;
  z.avail_out = out.size() - start - 8;
  boost::system::error_code ec;
  deflate.write(z, zlib::Flush::finish, ec);
  if (ec && ec != zlib::error::end_of_stream) return;
  if (z.avail_in != 0) return;
  out.resize(start + z.total_out);
  boost::crc_32_type crc;
  crc.process_bytes(a.body.data(), a.body.size());
  for (auto number : {static_cast<std::uint32_t>(crc.checksum()), static_cast<std::uint32_t>(a.body.size())})
    for (int i = 0; i < 4; i++) out += static_cast<char>(number >> (8 * i) & 0xff);
  if (out.size() >= a.body.size()) return;
  a.body = std::move(out);
  a.headers["Content-Encoding"] = "gzip";
  a.headers["Vary"] = "Accept-Encoding";
}

} // namespace incus::rest
