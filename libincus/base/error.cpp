// SPDX-License-Identifier: Apache-2.0
#include "base/error.hpp"

#include <cerrno>
#include <cstring>

namespace incus {
inline namespace v0 {

namespace {
struct CodeRow {
  ErrorCode code;
  int status;
  const char *name;
};
constexpr CodeRow codes[] = {
    {ErrorCode::invalid_argument, 400, "invalid_argument"},
    {ErrorCode::forbidden, 403, "forbidden"},
    {ErrorCode::not_found, 404, "not_found"},
    {ErrorCode::already_exists, 409, "already_exists"},
    {ErrorCode::conflict, 400, "conflict"},
    {ErrorCode::busy, 423, "busy"},
    {ErrorCode::precondition_failed, 412, "precondition_failed"},
    {ErrorCode::too_large, 413, "too_large"},
    {ErrorCode::not_supported, 501, "not_supported"},
    {ErrorCode::unavailable, 503, "unavailable"},
    {ErrorCode::timeout, 504, "timeout"},
    {ErrorCode::cancelled, 499, "cancelled"},
    {ErrorCode::no_space, 507, "no_space"},
    {ErrorCode::permission_denied, 401, "permission_denied"},
    {ErrorCode::corrupt, 422, "corrupt"},
    {ErrorCode::internal, 500, "internal"},
};
} // namespace

struct Error::Data {
  ErrorCode code;
  std::string message, text;
  std::vector<std::string> causes;
};

Error::Error(ErrorCode code, std::string message) {
  auto d = std::make_shared<Data>();
  d->code = code;
  d->text = message;
  d->message = std::move(message);
  data_ = std::move(d);
}

Error::Error(ErrorCode code, std::string message, const std::exception &cause) {
  auto d = std::make_shared<Data>();
  d->code = code;
  d->message = std::move(message);
  if (auto *e = dynamic_cast<const Error *>(&cause)) {
    d->causes.push_back(e->message());
    d->causes.insert(d->causes.end(), e->causes().begin(), e->causes().end());
  } else {
    d->causes.emplace_back(cause.what());
  }
  d->text = d->message;
  for (auto &c : d->causes) d->text += ": " + c;
  data_ = std::move(d);
}

Error::~Error() = default;
Error::Error(const Error &) noexcept = default;
Error &Error::operator=(const Error &) noexcept = default;
ErrorCode Error::code() const noexcept { return data_->code; }
const char *Error::what() const noexcept { return data_->text.c_str(); }
const std::string &Error::message() const noexcept { return data_->message; }
const std::vector<std::string> &Error::causes() const noexcept { return data_->causes; }

int http_status(ErrorCode code) noexcept {
  for (auto &r : codes)
    if (r.code == code) return r.status;
  return 500;
}
const char *error_code_name(ErrorCode code) noexcept {
  for (auto &r : codes)
    if (r.code == code) return r.name;
  return "internal";
}
ErrorCode error_code_from(int status, std::string_view name) noexcept {
  for (auto &r : codes)
    if (name == r.name) return r.code;
  for (auto &r : codes)
    if (r.status == status) return r.code;
  return status >= 400 && status < 500 ? ErrorCode::invalid_argument : ErrorCode::internal;
}

} // namespace v0

namespace base {

std::string errno_text(int err) {
  char buf[128];
  return strerror_r(err, buf, sizeof buf);
}

ErrorCode errno_code(int err) noexcept {
  switch (err) {
  case ENOSPC:
  case EDQUOT: return ErrorCode::no_space;
  case EACCES:
  case EPERM:
  case EROFS: return ErrorCode::permission_denied;
  case ENOENT:
  case ENOTDIR: return ErrorCode::not_found;
  case EEXIST:
  case ENOTEMPTY: return ErrorCode::already_exists;
  case EBUSY: return ErrorCode::busy;
  case ETIMEDOUT: return ErrorCode::timeout;
  case ENAMETOOLONG: return ErrorCode::invalid_argument;
  case EOPNOTSUPP:
  case ENOSYS: return ErrorCode::not_supported;
  default: return ErrorCode::internal;
  }
}

void fail_errno(int err, std::string what) { throw Error(errno_code(err), std::move(what) + ": " + errno_text(err)); }

} // namespace base
} // namespace incus
