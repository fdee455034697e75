// SPDX-License-Identifier: Apache-2.0
// What the tests of the conformance suite share: one host for the whole run, images, and a world that is empty again after each test.
#pragma once
#include <boost/json.hpp>
#include <doctest/doctest.h>
#include <filesystem>
#include <string>
#include <vector>

#include <incus/incus.hpp>

namespace suite {

using namespace incus;
using namespace std::chrono_literals;

/// `uri`: a URI of Host::open, or "embed:auto" for a private directory, "unix:auto" and "https:auto" for our daemon in one, "official:auto" for the
/// official one.
void open(const std::string &uri, const std::string &driver);
void close();

/// The host that tests share.
Host &host();
/// Real containers and files behind it; false: memory.
bool real();
/// A daemon behind it.
bool remote();
/// The official one: its errors have words of its own, and codes of the few HTTP statuses that it uses.
bool official();
/// The names of cases that the table of exceptions takes from this door; prints them.
std::vector<std::string> not_run();
/// A further host of the same kind in a place of its own, empty.
Host fresh();
/// Opens what `fresh` (or the shared host) has open or had open, by its URI.
Host reopen(const std::string &uri);
/// Where the pool is mounted or lies, on the machine of the tests.
std::filesystem::path pool_directory(Host &host, const std::string &pool);
/// The answer of GET /internal/check, which a daemon gives over its unix socket alone.
std::string check(Host &host);
/// A private directory for files of the test, removed at the end of the run.
const std::string &scratch();

/// A unified image of a busybox guest.
const std::string &guest_image();
/// Writes an image that can be stored but not booted; `mark` makes its content and fingerprint its own.
std::string small_image(const std::string &mark, const std::string &more_metadata = {}, const std::string &architecture = {});
/// The machine's architecture as images name it.
std::string architecture();
std::string read_file(const std::string &path);
std::string sha256(const std::string &path);

// What tests ask for by the rows themselves.
boost::json::value ask(Host &host, const std::string &path);
boost::json::value ask(Host &host, const std::string &method, const std::string &path, const std::string &body = {});
/// Waits where there is something to wait for.
void run(Host &host, const std::string &method, const std::string &path, const std::string &body = {});
/// Of rows that always begin an operation.
OperationInfo finish(Host &host, const std::string &method, const std::string &path, const std::string &body = {});
std::string text(const boost::json::value &value);

/// What a call did: its error, or "no error".
struct Attempt {
  ErrorCode code{};
  std::string text = "no error";
};
template <class F> Attempt attempt(F f) {
  try {
    f();
  } catch (const Error &e) {
    return {e.code(), e.what()};
  }
  return {};
}

/// Whether the table of exceptions says why the official daemon answers so and ours does not; the reason is printed at the end.
bool may_differ(const Attempt &a);

/// The call fails with this code and these words.
#define REFUSED(wanted, part, ...)                                                          \
  do {                                                                                      \
    auto attempt_ = suite::attempt([&] { __VA_ARGS__; });                                   \
    if (suite::official()) {                                                                \
      CHECK_MESSAGE(attempt_.code != incus::ErrorCode{}, #__VA_ARGS__ ": " << attempt_.text); \
      if (attempt_.code != incus::ErrorCode::wanted)                                        \
        CHECK_MESSAGE(suite::may_differ(attempt_), #__VA_ARGS__ ": " << incus::error_code_name(attempt_.code) << ", wanted " #wanted ": " << attempt_.text); \
      break;                                                                                \
    }                                                                                       \
    CHECK_MESSAGE(attempt_.code == incus::ErrorCode::wanted, #__VA_ARGS__ ": " << attempt_.text); \
    CHECK_MESSAGE(attempt_.text.find(part) != std::string::npos, #__VA_ARGS__ ": " << attempt_.text); \
  } while (0)

/// An empty host with the image "busy", emptied again at the end.
class World {
public:
  World();
  ~World();
  Host &host;
  /// Creates from "busy", stopped.
  Instance make(const std::string &name, InstanceCreate request = {});
  /// Creates from "busy", running and ready.
  Instance run(const std::string &name, InstanceCreate request = {});
};

/// The next lifecycle event's action and source, or "" after a while without any.
std::string next_action(EventListener &events, std::string *source = nullptr);
/// Reads on until this action came; false after a while without it.
bool saw(EventListener &events, const std::string &action);

inline bool contains(const std::vector<std::string> &all, const std::string &one) { return std::find(all.begin(), all.end(), one) != all.end(); }
/// Some failing change must leave what `read` shows as it was.
template <class R, class F> void unchanged(R read, F f) {
  auto before = read();
  f();
  CHECK(read() == before);
}

} // namespace suite
