// SPDX-License-Identifier: Apache-2.0
// From an HTTP request's head to a row and its request, and what stands between: rights, browsers, the filter.
#pragma once
#include <string>
#include <string_view>

#include "api/door.hpp"
#include "rest/answer.hpp"

namespace incus::rest {

/// An HTTP request's head, taken apart.
struct Head {
  std::string method, target; ///< target: path and query as sent
  std::map<std::string, std::string> headers; ///< names in lower case
  bool keep_alive = true, http_1_0 = false;
  std::string header(const std::string &name) const {
    auto it = headers.find(name);
    return it == headers.end() ? std::string() : it->second;
  }
  bool upgrade_to(std::string_view protocol) const;
};

struct Routed {
  const api::Row *row = nullptr;
  api::Request request;
  bool head_only = false; ///< HEAD of a row that only has GET
};

/// Finds the row and fills path, query, headers and If-Match. Throws not_found and not_supported; what it throws is answered by failure().
Routed route(const Head &head);
/// The headers of a row's meaning that a handler gets.
std::map<std::string, std::string> meaningful(const Head &head);
/// Throws forbidden when a browser was led here by another site.
void check_origin(const Head &head, const std::string &allowed);
/// Asks the row, with the filter applied where the request has one.
api::Reply perform(api::Session &session, const api::Row &row, api::Request request);

} // namespace incus::rest
