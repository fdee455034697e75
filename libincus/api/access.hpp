// SPDX-License-Identifier: Apache-2.0
// Who may call what: one gate in front of every row, and what handlers need to show a caller only its own.
#pragma once
#include "api/door.hpp"

namespace incus::api {

/// Throws forbidden unless the row is open to the request's caller: Row::access, and every project that the request names (in the query, or
/// in the body of a row of a project: "project", "source.project") must be one that the caller may use. The answer is the same whether such
/// a project exists or not. `open_metrics`: core.metrics_authentication is off.
void authorize(const Row &row, const Request &request, bool open_metrics = false);

/// Throws the same for a project that the handler found itself.
void require_project(const Request &request, const std::string &project);
[[noreturn]] void forbid(const std::string &why);

/// Drops the URLs of objects in projects that the caller may not use.
void filter_used_by(const Request &request, std::vector<std::string> &urls);
/// Whether an event may be shown to a caller; null is the program itself.
bool may_see(const Caller *caller, const Event &event);
/// Whether two callers are the same one: a certificate, a user of the socket, or the program itself.
bool same_caller(const Caller *a, const Caller *b);

} // namespace incus::api
