// SPDX-License-Identifier: Apache-2.0
// What `api_extensions` announces: only what works. One name a line, in alphabetical order.
#include "api/rows.hpp"

namespace incus::api {

namespace {
constexpr const char *list[] = {
    "container_exec_user_group_cwd",
    "container_full",
    "etag",
    "instance_get_full",
    "patch",
    "profile_usedby",
};
} // namespace

std::span<const char *const> extensions() noexcept { return list; }

} // namespace incus::api
