// SPDX-License-Identifier: Apache-2.0
// The door over REST: a client of incusd, of this project or the official one.
#pragma once
#include "remote/client.hpp"
#include "remote/operation.hpp"

namespace incus::remote {

class RemoteDoor final : public api::Door {
public:
  /// Connects once, so that a wrong address is told at open; joins with the trust token when there is one.
  RemoteDoor(const std::string &uri, const OpenOptions &options);
  ~RemoteDoor() override;
  api::Reply perform(const api::Row &row, api::Request request) override;
  std::shared_ptr<api::ListenerBackend> listen(const std::vector<std::string> &types, std::size_t capacity) override;
  void close() override;

private:
  api::Reply once(const api::Row &row, api::Request &request);
  api::Reply plain(const api::Row &row, api::Request &request);
  api::Reply from_answer(const api::Row &row, Answer answer, bool want_operation = false);
  // attached.cpp
  api::Reply attach(const api::Row &row, api::Request &request);
  // ready.cpp: for servers without that row
  void wait_ready(const api::Row &row, api::Request &request);
  // transfer.cpp
  api::Reply upload_image(const api::Row &row, api::Request &request);
  api::Reply export_image(const api::Row &row, api::Request &request);
  api::Reply sftp(const api::Row &row, api::Request &request);
  void bodies(api::Reply &reply, Pool::Lease lease, const Head &head);
  void join(const OpenOptions &options);

  const ClientPtr client_;
  const std::shared_ptr<Tracker> tracker_;
};

/// Path and query of a call; throws invalid_argument when a value is empty.
std::string target_of(const api::Row &row, const api::Request &request);
/// Method, target, headers and JSON body of a call.
Outgoing outgoing(const api::Row &row, const api::Request &request);

} // namespace incus::remote
