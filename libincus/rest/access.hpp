// SPDX-License-Identifier: Apache-2.0
// Who may call what. Default: nobody.
#pragma once
#include "api/door.hpp"

namespace incus::rest {

/// Throws forbidden when the request's caller may not call the row.
void authorize(const api::Row &row, const api::Request &request);
bool same_caller(const api::Caller *a, const api::Caller *b);

} // namespace incus::rest
