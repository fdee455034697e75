// SPDX-License-Identifier: Apache-2.0
#include "rest/server.hpp"

#include <boost/asio/posix/basic_stream_descriptor.hpp>
#include <boost/json.hpp>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/error.hpp"
#include "base/names.hpp"
#include "rest/connection.hpp"
#include "rest/rendezvous.hpp"

namespace incus::rest {

std::string share_of(const api::Caller *c) {
  if (!c) return "server";
  if (c->kind == api::Caller::Kind::local) return "user " + std::to_string(c->uid);
  if (c->kind != api::Caller::Kind::unknown) return "certificate " + c->name;
  return "address " + c->address.substr(0, c->address.rfind(':'));
}

} // namespace incus::rest

namespace incus {

namespace asio = boost::asio;
namespace json = boost::json;

inline namespace v0 {

Server::Impl::Impl(const Host &host, ServerOptions o) : session(host.session()), options(std::move(o)), log(options.log) {
  if (!session) base::fail(ErrorCode::unavailable, "this handle is empty: it was moved from");
  session->check();
  auto &uri = session->uri();
  if (uri.starts_with("embed:")) {
    directory = uri.substr(uri.starts_with("embed://") ? 8 : 6);
    if (directory.empty()) {
      const char *dir = std::getenv("INCUS_DIR");
      directory = dir && *dir ? dir : "/var/lib/incus";
    }
  }
  foreign = uri.starts_with("unix:") || uri.starts_with("https:");
  if (options.certificate_directory.empty()) options.certificate_directory = directory;
  trust = std::make_unique<rest::Trust>(session, directory);
  workers = std::make_unique<rest::Workers>();
  gate = std::make_shared<rest::Gate>(workers->io());
}

Server::Impl::~Impl() = default;

base::Fd Server::Impl::spool() {
  std::vector<std::string> places;
  if (!options.spool_directory.empty()) {
    places = {options.spool_directory};
  } else {
    // Beside the images, so that taking one over copies nothing.
    if (!directory.empty()) places = {directory + "/images", directory};
    places.emplace_back("/var/tmp");
  }
  int why = ENOENT;
  for (auto &p : places) {
    base::Fd fd(::open(p.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    if (fd) return fd;
    why = errno;
  }
  base::fail_errno(why, fmt::format("cannot make a temporary file for an upload in {}", base::quoted(places.front())));
}

void Server::Impl::connection_ended(rest::Connection *c) {
  std::lock_guard lock(mutex);
  connections.erase(c);
  if (connections.empty()) idle.notify_all();
}

void Server::Impl::stop(std::chrono::milliseconds patience) {
  {
    std::lock_guard lock(mutex);
    if (stopped) return;
    stopped = true;
  }
  if (options.follow_config && session->same_process()) try {
      session->door().on_server_config({});
    } catch (const std::exception &) {
      // A host that is closed calls nobody.
    }
  auto ask_all = [this](bool hard) {
    std::vector<std::shared_ptr<rest::Connection>> all;
    {
      std::lock_guard lock(mutex);
      for (auto *c : connections)
        if (auto s = c->weak_from_this().lock()) all.push_back(std::move(s));
    }
    for (auto &c : all) c->finish(hard);
  };
  std::vector<std::shared_ptr<rest::Listener>> old;
  {
    std::lock_guard lock(mutex);
    old.swap(listeners);
  }
  for (auto &l : old) close(l);
  auto wait = [&](std::chrono::milliseconds time) {
    std::unique_lock lock(mutex);
    return idle.wait_for(lock, time, [&] { return connections.empty(); });
  };
  ask_all(false);
  if (!wait(patience)) {
    ask_all(true);
    wait(std::chrono::seconds(2));
  }
  gate->close();
  workers->stop();
  {
    std::map<std::string, std::shared_ptr<rest::LateStreams>> left;
    std::map<std::string, std::shared_ptr<rest::Waiters>> waiting; // they go before the workers, whose executors they have
    {
      std::lock_guard lock(mutex);
      left.swap(late);
      waiting.swap(waiters);
    }
    for (auto &[id, l] : left) l->abandon();
  }
}

Server::Server(const Host &host, const ServerOptions &options) : impl_(std::make_shared<Impl>(host, options)) {
  if (!options.follow_config) return;
  auto &door = impl_->session->door();
  std::weak_ptr<Impl> weak = impl_;
  door.on_server_config([weak](const std::map<std::string, std::string> &before, const std::map<std::string, std::string> &after) {
    auto self = weak.lock();
    if (!self) return;
    (void)before;
    self->follow(after, false);
  });
  std::map<std::string, std::string> config;
  auto r = impl_->session->perform(api::RowId::server_get, {});
  if (auto *o = r.metadata.if_object())
    if (auto *c = o->if_contains("config"); c && c->is_object())
      for (auto &kv : c->get_object())
        if (kv.value().is_string()) config[std::string(kv.key())] = std::string(kv.value().get_string());
  impl_->follow(config, true);
}

Server::~Server() {
  try {
    // In a forked child there are none of the threads that would have to end.
    if (!impl_->session->same_process())
      new std::shared_ptr<Impl>(impl_);
    else
      stop(std::chrono::seconds(1));
  } catch (const std::exception &e) {
    impl_->log.error("stopping the server: {}", e.what());
  }
}

void Server::ready() { impl_->is_ready = true; }
void Server::going_down() { impl_->is_going_down = true; }
void Server::start_instances() { impl_->session->door().start_instances(); }
void Server::stop_instances(std::optional<std::chrono::milliseconds> limit) { impl_->session->door().stop_instances(limit); }

void Server::on_shutdown(std::function<void(bool)> handler, std::function<void()> done) {
  std::lock_guard lock(impl_->mutex);
  impl_->shutdown_handler = std::move(handler);
  impl_->shutdown_done = std::move(done);
}

std::size_t Server::connections() const {
  std::lock_guard lock(impl_->mutex);
  return impl_->connections.size();
}

bool Server::drain(std::chrono::milliseconds limit) {
  auto until = std::chrono::steady_clock::now() + limit;
  for (;;) {
    api::Request q;
    q.query["recursion"] = "1";
    q.query["all-projects"] = "true";
    auto r = impl_->session->perform(api::RowId::operations_get, std::move(q));
    // A wait for one after the other; new ones are refused by going_down().
    std::string id;
    auto look = [&](const json::array &list) {
      for (auto &v : list) {
        auto &o = v.as_object();
        if (o.at("status_code").to_number<int>() != 103 || o.at("class").as_string() != "task") continue;
        id = std::string(o.at("id").as_string());
      }
    };
    if (auto *list = r.metadata.if_array()) look(*list);
    if (auto *by_status = r.metadata.if_object())
      for (auto &kv : *by_status) look(kv.value().as_array());
    if (id.empty()) return true;
    auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
    if (left.count() <= 0) return false;
    try {
      api::Request one;
      one.path = {id};
      auto found = impl_->session->perform(api::RowId::operation_get, std::move(one));
      if (!found.operation || !found.operation->wait(left)) return false;
    } catch (const Error &e) {
      if (e.code() != ErrorCode::not_found) throw;
    }
  }
}

void Server::stop(std::chrono::milliseconds patience) { impl_->stop(patience); }

} // namespace v0
} // namespace incus
