// SPDX-License-Identifier: Apache-2.0
// The websockets of a command or a console, which the client opens after it got the operation.
#pragma once
#include <boost/asio/posix/basic_stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/json.hpp>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>

#include "api/door.hpp"
#include "rest/server.hpp"
#include "rest/websocket.hpp"

namespace incus::rest {

class LateStreams final : public api::Rendezvous, public std::enable_shared_from_this<LateStreams> {
public:
  /// `interactive`: one stream for both ways and a control stream that must come; else stdin, stdout, stderr, and a control stream that may come.
  LateStreams(Server::Impl &server, std::shared_ptr<const api::Caller> creator, bool interactive);
  ~LateStreams() override;

  std::vector<api::Stream> wait() override;
  void cancel() override;
  void on_control(std::function<void(const api::json::value &)> handler) override;
  void on_gone(std::function<void()> handler) override;

  /// {"0": SECRET, ..., "control": SECRET}
  api::json::object fds() const;
  const std::shared_ptr<const api::Caller> &creator() const { return creator_; }
  /// The operation runs: what is connected ends with it.
  void started(const std::shared_ptr<api::OperationBackend> &operation, const std::string &id);
  /// The server ends before the operation; its threads have ended.
  void abandon();
  /// The stream that a secret opens, once; throws forbidden.
  std::string claim(const std::string &secret);
  /// The websocket that was claimed; on its strand.
  void connected(const std::string &name, std::shared_ptr<Socket> socket);
  /// It was claimed but did not come.
  void lost(const std::string &name);

private:
  using Descriptor = boost::asio::posix::basic_stream_descriptor<boost::asio::any_io_executor>;
  struct Pump;
  struct Slot {
    std::string secret;
    bool claimed = false, connected = false, required = true;
    base::Fd in_ours, in_theirs;   ///< from the client
    base::Fd out_ours, out_theirs; ///< to the client
    std::shared_ptr<Pump> pump;
  };
  void ended();
  void gone(const std::string &name);
  void control_message(std::string_view text);
  void call_gone();

  Server::Impl &server_; ///< only where the server is known to be there: its own threads, and what the gate lets in
  const base::Log log_;
  std::shared_ptr<Gate> gate_;
  std::shared_ptr<const api::Caller> creator_;
  const bool interactive_;
  std::string id_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, Slot> slots_;
  bool cancelled_ = false, waited_ = false, ended_ = false, gone_ = false, gone_told_ = false;
  std::function<void(const api::json::value &)> control_;
  std::function<void()> on_gone_;
  std::deque<api::json::value> early_;
};

} // namespace incus::rest
