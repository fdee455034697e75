// SPDX-License-Identifier: Apache-2.0
// Throwing helpers over the public Error.
#pragma once
#include <fmt/format.h>
#include <incus/error.hpp>

namespace incus::base {

template <class... A>
[[noreturn]] void fail(ErrorCode code, fmt::format_string<A...> f, A &&...a) {
  throw Error(code, fmt::format(f, std::forward<A>(a)...));
}

/// Text of an errno value.
std::string errno_text(int err);
/// The code an errno stands for (ENOSPC no_space, EACCES permission_denied, ENOENT not_found, ...).
ErrorCode errno_code(int err) noexcept;
/// Throws "what: strerror" with the code of `err`.
[[noreturn]] void fail_errno(int err, std::string what);

} // namespace incus::base
