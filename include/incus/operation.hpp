// SPDX-License-Identifier: Apache-2.0
/// \file
/// Background operations (REST: /1.0/operations).
#pragma once
#include <incus/types.hpp>

namespace incus {
namespace api {
class OperationBackend;
}
inline namespace v0 {

/// One operation as the REST API shows it (GET /1.0/operations/{id}).
struct OperationInfo {
  std::string id;           ///< UUID
  std::string class_;       ///< "task", "websocket" or "token" (JSON `class`)
  std::string description;  ///< such as "Creating instance"
  Time created_at;
  Time updated_at;
  std::string status;       ///< "Running", "Success", "Failure", "Cancelled", ...
  std::int64_t status_code = 0; ///< 103 running, 200 success, 400 failure, 401 cancelled
  std::map<std::string, std::vector<std::string>> resources; ///< URLs of what it works on, by kind
  Json metadata;            ///< progress and results
  bool may_cancel = false;
  std::string err;          ///< the failure's text
  std::int64_t err_code = 0; ///< HTTP status of the failure, 0 if none (JSON `error_code`)
  std::string err_name;     ///< the failure's code by name, such as "conflict"; servers of others do not say it (JSON `error_name`)
  std::string location;     ///< cluster member
};

/// A long-running piece of work. Cheap to copy; copies refer to the same operation. Thread-safe. Dropping
/// every handle does not stop the work; the work ends with the process that runs it, its effects do not.
class INCUS_EXPORT Operation {
public:
  Operation();
  explicit Operation(std::shared_ptr<api::OperationBackend> backend);
  ~Operation();
  Operation(const Operation &);
  Operation &operator=(const Operation &);

  /// UUID; also valid in GET /1.0/operations/{id}.
  std::string id() const;
  /// A snapshot of where it stands.
  OperationInfo info() const;
  /// Blocks until it ends. Throws the operation's own Error when it failed, `cancelled` when it was
  /// cancelled. Corresponds to GET /1.0/operations/{id}/wait.
  OperationInfo wait() const;
  /// As wait(), but gives up after `timeout` with ErrorCode::timeout; the operation goes on.
  OperationInfo wait_for(std::chrono::milliseconds timeout) const;
  /// True once it has ended, well or not; never throws for the operation's own failure.
  bool done() const;
  /// Asks it to stop. ErrorCode::not_supported when it cannot be (may_cancel is false).
  void cancel() const;

  /// For the library itself.
  const std::shared_ptr<api::OperationBackend> &backend() const { return backend_; }

private:
  std::shared_ptr<api::OperationBackend> backend_;
};

} // namespace v0
} // namespace incus
