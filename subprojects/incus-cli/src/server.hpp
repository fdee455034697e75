// SPDX-License-Identifier: Apache-2.0
// A server as the verbs use it: JSON in and out, operations waited for.
#pragma once
#include "app.hpp"

namespace cli {

/// "/1.0/instances/c1/state" of {"instances", "c1", "state"}; names are escaped.
std::string url(std::initializer_list<std::string_view> parts);
std::string escape(std::string_view text);

class Server {
public:
  Server(Context &context, std::string remote);

  const std::string &remote() const { return remote_; }
  /// As the settings have it.
  const std::string &address() const;
  /// What the verbs work in: --project, $INCUS_PROJECT, or the remote's.
  const std::string &project() const { return project_; }
  void use_project(const std::string &name) { project_ = name; }
  incus::Host &host();

  json::value get(const std::string &path, std::string *etag = nullptr);
  /// Synchronous rows; the answer's metadata.
  json::value send(const std::string &method, const std::string &path, const json::value &body = nullptr, const std::string &etag = {});
  /// Asynchronous rows. Empty when the server did it at once.
  std::optional<incus::Operation> start(const std::string &method, const std::string &path, const json::value &body = nullptr,
                                        const std::string &etag = {});
  /// start() and wait.
  void finish(const std::string &method, const std::string &path, const json::value &body = nullptr, const std::string &etag = {});
  /// With streams and headers; the project is added.
  incus::RawReply call(incus::RawCall call);
  /// The path with the project in its query.
  std::string in_project(const std::string &path) const;

  /// GET /1.0, once.
  const json::value &info();
  bool has_extension(std::string_view name);
  bool clustered();
  /// Fails with the message of the official client when the server lacks it.
  void need(std::string_view extension);
  void forget() { info_ = nullptr; }

private:
  /// Waits until the machine's own daemon, which is ending, has ended; then another one is started.
  void await_end();

  Context &context_;
  std::string remote_, project_;
  std::string own_; ///< the socket, when this is the machine's own daemon, which we may start
  std::optional<incus::Host> host_;
  json::value info_;
};

/// Waits for an operation and shows its progress by `format` ("Creating: {}") on a terminal; Ctrl-C asks it to stop. Its last state.
incus::OperationInfo wait_for(Context &context, const incus::Operation &operation, const std::string &format = {}, const std::string &done = {});
/// Its metadata.
json::value metadata_of(const incus::OperationInfo &info);
/// The last part of the first resource of that kind, such as the instance an operation made.
std::string resource_name(const incus::OperationInfo &info, const std::string &kind);

/// How an https: remote is opened: our certificate, the server's as it was accepted.
incus::OpenOptions https_options(const Settings &settings, const std::string &remote, const std::string &token = {});

/// Starts `incusd --transient` and waits for its socket.
void start_daemon(const std::string &socket);
bool socket_answers(const std::string &socket);

// Records.
std::string str(const json::value &record, std::string_view field);
std::int64_t num(const json::value &record, std::string_view field);
bool truth(const json::value &record, std::string_view field);
/// The field, or null.
const json::value &at(const json::value &record, std::string_view field);
/// Fields of an object that is one; else nothing.
const json::object &object_at(const json::value &record, std::string_view field);
const json::array &array_at(const json::value &record, std::string_view field);
// What they give lives as long as the record does.
const json::value &at(const json::value &&record, std::string_view field) = delete;
const json::object &object_at(const json::value &&record, std::string_view field) = delete;
const json::array &array_at(const json::value &&record, std::string_view field) = delete;
Strings strings_at(const json::value &record, std::string_view field);
/// The field as an object to change, made when it is absent.
json::object &make_object(json::value &record, std::string_view field);

/// "key=value" taken apart; fails when there is no "=".
std::pair<std::string, std::string> key_value(const std::string &text, std::string_view what = "Bad key=value pair");
/// All of standard input when it is no terminal, else nothing.
std::optional<std::string> piped_input();

} // namespace cli
