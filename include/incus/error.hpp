// SPDX-License-Identifier: Apache-2.0
/// \file
/// The one exception type of libincus and its codes.
#pragma once
#include <exception>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#if defined(__GNUC__)
#define INCUS_EXPORT __attribute__((visibility("default")))
#else
#define INCUS_EXPORT
#endif

namespace incus {
inline namespace v0 {

/// What kind of failure it was. Every code maps to exactly one HTTP status (`http_status`), one C code
/// (`INCUS_ERROR_*` in error.h, same numbers) and one Python exception class. Numbers are stable.
enum class ErrorCode : int {
  invalid_argument = 1,     ///< 400: a value breaks a rule; the message names the value and the rule
  forbidden = 2,            ///< 403: the caller may not do this
  not_found = 3,            ///< 404: no such object
  already_exists = 4,       ///< 409: an object of that name is there already
  conflict = 5,             ///< 409-like state error: the object's state does not allow it (running, stopped, in use)
  busy = 6,                 ///< 423: another operation holds the object; try again later
  precondition_failed = 7,  ///< 412: the object changed since it was read (if_match)
  too_large = 8,            ///< 413: input above a limit
  not_supported = 9,        ///< 501: this door, kernel, driver or object cannot do it
  unavailable = 10,         ///< 503: the host is closed, held by another process, or not reachable
  timeout = 11,             ///< 504: the given time ran out
  cancelled = 12,           ///< 499: the operation was cancelled
  no_space = 13,            ///< 507: no space or quota left on the pool or the store
  permission_denied = 14,   ///< 401-like: the process lacks the privilege (not root, read-only directory)
  corrupt = 15,             ///< 422: an image, backup or store is damaged or malformed
  internal = 16,            ///< 500: a failure that is not the caller's
};

/// The HTTP status a code is sent as.
INCUS_EXPORT int http_status(ErrorCode code) noexcept;
/// The code's name in lower case with underscores, such as "not_found"; never null.
INCUS_EXPORT const char *error_code_name(ErrorCode code) noexcept;
/// The code a REST error of that status and optional `error_code` name stands for.
INCUS_EXPORT ErrorCode error_code_from(int http_status, std::string_view name = {}) noexcept;

/// Thrown by every call of the library that fails. The message says what failed, on what, why, and what
/// to do. Copying is cheap and does not throw; objects are immutable and may be shared between threads.
class INCUS_EXPORT Error : public std::exception {
public:
  Error(ErrorCode code, std::string message);
  /// Wraps `cause`: what() becomes "message: cause", causes() gains an entry.
  Error(ErrorCode code, std::string message, const std::exception &cause);
  ~Error() override;
  Error(const Error &) noexcept;
  Error &operator=(const Error &) noexcept;

  ErrorCode code() const noexcept;
  /// The whole text, causes included, separated by ": ".
  const char *what() const noexcept override;
  /// This error's own message without its causes.
  const std::string &message() const noexcept;
  /// Messages of the causes, outermost first.
  const std::vector<std::string> &causes() const noexcept;

private:
  struct Data;
  std::shared_ptr<const Data> data_;
};

} // namespace v0
} // namespace incus
