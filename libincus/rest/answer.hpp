// SPDX-License-Identifier: Apache-2.0
// Answers as bytes: the envelope of the REST API and the head of an HTTP response.
#pragma once
#include <boost/json/value.hpp>
#include <map>
#include <string>

#include "api/door.hpp"

namespace incus::rest {

struct Answer {
  int status = 200;
  std::map<std::string, std::string> headers;
  std::string body;
  bool json = true;
};

Answer sync(const api::json::value &metadata, int status = 200);
/// With metadata that is JSON text already.
Answer sync_text(const std::string &metadata);
Answer async(const OperationInfo &operation);
/// `extra`: members added to the operation's metadata.
Answer async(const OperationInfo &operation, const api::json::object &extra);
Answer failure(int status, const std::string &message);
Answer failure(const std::exception &e);
/// The bytes of status line and headers; `length` -1: chunked.
std::string head(const Answer &answer, std::int64_t length, bool keep_alive, bool http_1_0);
/// Compresses the body, when that makes it smaller.
void gzip(Answer &answer);
const char *reason(int status) noexcept;
/// The operation as the API shows it, with members added to its metadata.
api::json::value operation_json(const OperationInfo &operation, const api::json::object &extra);

} // namespace incus::rest
