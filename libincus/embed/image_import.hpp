// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <vector>

#include <incus/image.hpp>

#include "api/door.hpp"

namespace incus::embed {

/// The body of an import. REST writes aliases as objects, this library's own callers as names; those with a description are in `aliases`.
ImageImport import_from(const api::Request &q, std::vector<ImageAliasInfo> &aliases);

} // namespace incus::embed
