// SPDX-License-Identifier: Apache-2.0
// Operations that a server runs.
#pragma once
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "remote/client.hpp"

namespace incus::remote {

using ClientPtr = std::shared_ptr<Client>;

/// Checks what will be put into a URL again; throws `internal`.
OperationInfo operation_from_json(const json::value &document);

class RemoteOperation final : public api::OperationBackend {
public:
  RemoteOperation(ClientPtr client, OperationInfo first) : client_(std::move(client)), id_(first.id), last_(std::move(first)) {}
  OperationInfo info() override;
  bool wait(std::optional<Milliseconds> timeout) override;
  void rethrow() override;
  void cancel() override;
  void control(const json::value &message) override;

  const std::string &id() const { return id_; }
  /// What the server says of it now; the end is kept: a server forgets it after seconds.
  void take(OperationInfo now);
  bool ended();
  /// Asks the server.
  void refresh();

private:
  bool asked_again();
  const ClientPtr client_;
  const std::string id_;
  std::mutex mutex_;
  std::condition_variable changed_;
  OperationInfo last_;
};

/// Keeps the ends of operations that nobody waits for: one listener for all that a door began, from the first on.
class Tracker : public std::enable_shared_from_this<Tracker> {
public:
  explicit Tracker(ClientPtr client) : client_(std::move(client)) {}
  void add(const std::shared_ptr<RemoteOperation> &op);

private:
  void run();
  void refresh_all();
  const ClientPtr client_;
  std::mutex mutex_;
  std::map<std::string, std::weak_ptr<RemoteOperation>> all_;
  bool running_ = false;
};

} // namespace incus::remote
