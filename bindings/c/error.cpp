// SPDX-License-Identifier: Apache-2.0
// Errors of the C face, and the one translator from exceptions.
#include <new>

#include "common.hpp"

static_assert(INCUS_ERROR_INVALID_ARGUMENT == static_cast<int>(incus::ErrorCode::invalid_argument));
static_assert(INCUS_ERROR_FORBIDDEN == static_cast<int>(incus::ErrorCode::forbidden));
static_assert(INCUS_ERROR_NOT_FOUND == static_cast<int>(incus::ErrorCode::not_found));
static_assert(INCUS_ERROR_ALREADY_EXISTS == static_cast<int>(incus::ErrorCode::already_exists));
static_assert(INCUS_ERROR_CONFLICT == static_cast<int>(incus::ErrorCode::conflict));
static_assert(INCUS_ERROR_BUSY == static_cast<int>(incus::ErrorCode::busy));
static_assert(INCUS_ERROR_PRECONDITION_FAILED == static_cast<int>(incus::ErrorCode::precondition_failed));
static_assert(INCUS_ERROR_TOO_LARGE == static_cast<int>(incus::ErrorCode::too_large));
static_assert(INCUS_ERROR_NOT_SUPPORTED == static_cast<int>(incus::ErrorCode::not_supported));
static_assert(INCUS_ERROR_UNAVAILABLE == static_cast<int>(incus::ErrorCode::unavailable));
static_assert(INCUS_ERROR_TIMEOUT == static_cast<int>(incus::ErrorCode::timeout));
static_assert(INCUS_ERROR_CANCELLED == static_cast<int>(incus::ErrorCode::cancelled));
static_assert(INCUS_ERROR_NO_SPACE == static_cast<int>(incus::ErrorCode::no_space));
static_assert(INCUS_ERROR_PERMISSION_DENIED == static_cast<int>(incus::ErrorCode::permission_denied));
static_assert(INCUS_ERROR_CORRUPT == static_cast<int>(incus::ErrorCode::corrupt));
static_assert(INCUS_ERROR_INTERNAL == static_cast<int>(incus::ErrorCode::internal));

struct incus_error {
  incus::Error error;
};

namespace incus::c {

namespace {

/// What is handed out when there is no memory even for an error object; never freed.
incus_error *no_memory() noexcept {
  static incus_error *const one = [] {
    try {
      return new incus_error{Error(ErrorCode::internal, "out of memory")};
    } catch (...) {
      return static_cast<incus_error *>(nullptr);
    }
  }();
  return one;
}

incus_status put(incus_error **err, const Error &e) noexcept {
  if (err) {
    *err = new (std::nothrow) incus_error{e};
    if (!*err) *err = no_memory();
  }
  return static_cast<incus_status>(e.code());
}

} // namespace

incus_status translate(incus_error **err) noexcept {
  no_memory(); // made while there may still be some
  try {
    throw;
  } catch (const Error &e) {
    return put(err, e);
  } catch (const std::bad_alloc &) {
    if (err) *err = no_memory();
    return INCUS_ERROR_INTERNAL;
  } catch (const std::exception &e) {
    try {
      return put(err, Error(ErrorCode::internal, "internal error", e));
    } catch (...) {
      if (err) *err = no_memory();
      return INCUS_ERROR_INTERNAL;
    }
  } catch (...) {
    try {
      return put(err, Error(ErrorCode::internal, "internal error of an unknown kind"));
    } catch (...) {
      if (err) *err = no_memory();
      return INCUS_ERROR_INTERNAL;
    }
  }
}

void missing(const char *what) { base::fail(ErrorCode::invalid_argument, "invalid argument {}: must not be NULL", what); }

} // namespace incus::c

extern "C" {

incus_status incus_error_code(const incus_error *error) { return error ? static_cast<incus_status>(error->error.code()) : INCUS_OK; }
const char *incus_error_message(const incus_error *error) { return error ? error->error.what() : ""; }
const char *incus_error_name(const incus_error *error) { return incus_status_name(incus_error_code(error)); }
size_t incus_error_cause_count(const incus_error *error) { return error ? error->error.causes().size() : 0; }
const char *incus_error_cause(const incus_error *error, size_t index) {
  return index < incus_error_cause_count(error) ? error->error.causes()[index].c_str() : nullptr;
}
void incus_error_free(incus_error *error) {
  if (error != incus::c::no_memory()) delete error;
}
const char *incus_status_name(incus_status status) {
  return status == INCUS_OK ? "ok" : incus::error_code_name(static_cast<incus::ErrorCode>(status));
}
int incus_status_http(incus_status status) { return status == INCUS_OK ? 200 : incus::http_status(static_cast<incus::ErrorCode>(status)); }
const char *incus_version(void) { return INCUS_VERSION; }
void incus_string_free(char *text) { std::free(text); }

} // extern "C"
