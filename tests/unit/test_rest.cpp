// SPDX-License-Identifier: Apache-2.0
#include <boost/json.hpp>
#include <doctest/doctest.h>

#include <incus/error.hpp>

#include "rest/answer.hpp"
#include "rest/multipart.hpp"
#include "rest/route.hpp"

using namespace incus;
using rest::Multipart;

namespace {
struct Seen {
  std::string text;
  Multipart::Handlers handlers() {
    return {[this](const Multipart::Part &p) { text += "<" + p.name + "|" + p.filename + ">"; }, [this](std::string_view d) { text += d; },
            [this] { text += ";"; }};
  }
};

std::string parse(const std::string &body, std::size_t step) {
  Seen s;
  Multipart m("XX", s.handlers());
  for (std::size_t i = 0; i < body.size(); i += step) m.feed(std::string_view(body).substr(i, step));
  m.finish();
  return s.text;
}

rest::Head head(std::string method, std::string target) {
  rest::Head h;
  h.method = std::move(method);
  h.target = std::move(target);
  return h;
}

ErrorCode code_of(const rest::Head &h) {
  try {
    rest::route(h);
  } catch (const Error &e) {
    return e.code();
  }
  return ErrorCode(0);
}
} // namespace

TEST_CASE("rest: a multipart body is the same however it is cut") {
  const std::string body = "preamble\r\n--XX\r\nContent-Disposition: form-data; name=\"metadata\"; filename=\"a \\\"b\\\".tar\"\r\nContent-Type: x/y\r\n\r\n"
                           "one\r\n--X\r\n--XY two\r\n--XX\r\ncontent-disposition: form-data; name=rootfs\r\n\r\n\r\n--XX--\r\nepilogue";
  for (std::size_t step = 1; step < body.size() + 1; step++) CHECK(parse(body, step) == "<metadata|a \"b\".tar>one\r\n--X\r\n--XY two;<rootfs|>;");
}

TEST_CASE("rest: malformed multipart bodies are refused") {
  for (auto *wrong : {"", "--XX", "--XX\r\n", "--XX\r\n\r\nabc", "--XXjunk\r\n\r\nabc\r\n--XX--", "--XX\r\nno colon\r\n\r\nx\r\n--XX--"})
    CHECK_THROWS_AS(parse(wrong, 3), Error);
  CHECK_THROWS_AS(parse("--XX\r\nh: " + std::string(20000, 'x') + "\r\n\r\nx\r\n--XX--", 100), Error);
  std::string many;
  for (int i = 0; i < 20; i++) many += "--XX\r\n\r\nx\r\n";
  CHECK_THROWS_AS(parse(many + "--XX--", 7), Error);
  CHECK(Multipart::boundary("multipart/form-data; boundary=abc") == "abc");
  CHECK(Multipart::boundary("Multipart/Form-Data; charset=x; boundary=\"a b\"") == "a b");
  CHECK(Multipart::boundary("application/json") == "");
  CHECK_THROWS_AS(Multipart::boundary("multipart/form-data"), Error);
}

TEST_CASE("rest: paths") {
  auto r = rest::route(head("GET", "/1.0/instances/c1/snapshots/s%20x?project=p&recursion=1"));
  CHECK(r.row->id == api::RowId::snapshot_get);
  CHECK(r.request.path == std::vector<std::string>{"c1", "s x"});
  CHECK(r.request.project() == "p");
  CHECK(code_of(head("GET", "/1.0/nothing")) == ErrorCode::not_found);
  CHECK(code_of(head("GET", "/1.0/instances/..")) == ErrorCode::invalid_argument);
  CHECK(code_of(head("GET", "/1.0/instances/%2e%2e")) == ErrorCode::invalid_argument);
  CHECK(code_of(head("GET", "/1.0/instances/a%00b")) == ErrorCode::invalid_argument);
  CHECK(code_of(head("GET", "/1.0/instances/a?x=%00")) == ErrorCode::invalid_argument);
  CHECK(code_of(head("GET", "/1.0/instances/a%zz")) == ErrorCode::invalid_argument);
  CHECK(code_of(head("BREW", "/1.0/instances")) == ErrorCode::not_supported);
  CHECK(rest::route(head("HEAD", "/1.0/instances")).head_only);
  CHECK_FALSE(rest::route(head("HEAD", "/1.0/instances/c1/files")).head_only);
  CHECK(rest::route(head("GET", "http://host:1/1.0?x=y")).row->id == api::RowId::server_get);
  auto tagged = head("PUT", "/1.0");
  tagged.headers["if-match"] = "\"abc\"";
  CHECK(rest::route(tagged).request.if_match == "abc");
}

TEST_CASE("rest: other sites' browsers are refused") {
  auto h = head("POST", "/1.0/instances");
  h.headers["host"] = "box:8443";
  CHECK_NOTHROW(rest::check_origin(h, ""));
  h.headers["origin"] = "https://box:8443";
  CHECK_NOTHROW(rest::check_origin(h, ""));
  for (auto *other : {"https://evil", "null", "https://box:8443.evil", ""}) {
    h.headers["origin"] = other;
    CHECK_THROWS_AS(rest::check_origin(h, "https://ui"), Error);
  }
  h.headers["origin"] = "https://ui";
  CHECK_NOTHROW(rest::check_origin(h, "https://ui"));
}

TEST_CASE("rest: envelopes") {
  CHECK(rest::sync(nullptr).body == "{\"type\":\"sync\",\"status\":\"Success\",\"status_code\":200,\"operation\":\"\",\"error_code\":0,\"error\":\"\",\"metadata\":{}}\n");
  auto e = rest::failure(Error(ErrorCode::forbidden, "not \"authorized\""));
  CHECK(e.status == 403);
  CHECK(e.body == "{\"type\":\"error\",\"status\":\"\",\"status_code\":0,\"operation\":\"\",\"error_code\":403,\"error\":\"not \\\"authorized\\\"\",\"metadata\":null}\n");
  rest::Answer a;
  a.headers["X"] = "a\r\nEvil: b";
  CHECK(rest::head(a, 3, true, false).find("\r\nEvil") == std::string::npos);
}

TEST_CASE("rest: gzip") {
  rest::Answer a;
  a.body = std::string(100000, 'x');
  rest::gzip(a);
  CHECK(a.body.size() < 2000);
  CHECK(a.headers["Content-Encoding"] == "gzip");
  CHECK(static_cast<unsigned char>(a.body[0]) == 0x1f);
  rest::Answer small;
  small.body = "abc";
  rest::gzip(small);
  CHECK(small.body == "abc");
}
