// SPDX-License-Identifier: Apache-2.0
// Waiting until an instance is ready, at servers that have no row for that: asked again and again, with pauses that grow.
#include <boost/json.hpp>
#include <thread>

#include "base/error.hpp"
#include "base/names.hpp"
#include "remote/door.hpp"

namespace incus::remote {

namespace {

using Clock = std::chrono::steady_clock;

/// Answers 0 when the guest's start has ended: as systemd says it; elsewhere when init sleeps and none of the commands that its inittab runs before
/// anything else is still its child. The shell's own means alone: a small guest has little more.
constexpr const char *booted_script = R"(
if [ -d /run/systemd/system ]; then x=$(systemctl is-system-running 2>/dev/null); [ "$x" = running ] || [ "$x" = degraded ]; exit; fi
[ -r /proc/1/status ] || exit 0
while read -r k v r; do [ "$k" = State: ] && [ "$v" != S ] && exit 1; done </proc/1/status
[ -r /etc/inittab ] || exit 0
b=" "
while IFS=: read -r i l a p; do
  case $a in sysinit|wait|boot|bootwait) set -- ${p#-}; b="$b${1##*/} " ;; esac
done </etc/inittab
for f in /proc/[0-9]*/status; do
  while read -r k v r; do
    case $k in
    Name:) n=$v ;;
    PPid:) [ "$v" = 1 ] && case "$b" in *" $n "*) exit 1 ;; esac ;;
    esac
  done 2>/dev/null <"$f"
done
exit 0
)";

struct Asked {
  Client &client;
  std::string path, query, name;
  Clock::time_point end;

  bool over() const { return Clock::now() >= end; }
  Milliseconds left() const { return std::max(Milliseconds(1), std::chrono::ceil<Milliseconds>(end - Clock::now())); }

  std::optional<int> run(json::array command) const {
    json::object body{{"command", std::move(command)}, {"wait-for-websocket", false}, {"interactive", false}, {"record-output", false}};
    auto answer = client.call("POST", path + "/exec" + query, body, left());
    auto info = operation_from_json(answer.metadata);
    auto seconds = std::chrono::ceil<std::chrono::seconds>(left()).count();
    json::value ended;
    try {
      ended = client.call("GET", fmt::format("/1.0/operations/{}/wait?timeout={}", info.id, seconds), nullptr, left() + Milliseconds(2000)).metadata;
    } catch (const Error &e) {
      // So the official server says that something could be run, though not this.
      if (e.message() == "Command not found") return 127;
      if (e.message() == "Command not executable") return 126;
      throw;
    }
    auto *o = ended.if_object();
    auto *status = o ? o->if_contains("status_code") : nullptr;
    auto *m = o ? o->if_contains("metadata") : nullptr;
    auto *code = m && m->is_object() ? m->get_object().if_contains("return") : nullptr;
    if (!status || !status->is_int64() || status->get_int64() != 200 || !code || !code->is_int64()) return std::nullopt;
    return static_cast<int>(code->get_int64());
  }

  json::value state() const { return client.call("GET", path + "/state" + query).metadata; }

  void check_running(const json::value &s) const {
    auto *o = s.if_object();
    auto *code = o ? o->if_contains("status_code") : nullptr;
    // 102 stopped, 112 broken.
    if (code && code->is_int64() && (code->get_int64() == 102 || code->get_int64() == 112))
      base::fail(ErrorCode::conflict, "instance {} is not running: start it first", base::quoted(name));
  }

  static bool has_address(const json::value &s) {
    auto *o = s.if_object();
    auto *n = o ? o->if_contains("network") : nullptr;
    if (!n || !n->is_object()) return false;
    for (auto &kv : n->get_object()) {
      if (kv.key() == "lo" || !kv.value().is_object()) continue;
      auto *all = kv.value().get_object().if_contains("addresses");
      if (!all || !all->is_array()) continue;
      for (auto &a : all->get_array())
        if (auto *one = a.if_object())
          if (auto *scope = one->if_contains("scope"); scope && scope->is_string() && scope->get_string() == "global") return true;
    }
    return false;
  }
};

} // namespace

void RemoteDoor::wait_ready(const api::Row &, api::Request &request) {
  auto option = [&](const char *name, const char *otherwise) {
    auto it = request.query.find(name);
    return it == request.query.end() ? std::string(otherwise) : it->second;
  };
  auto level = option("level", "booted"), timeout = option("timeout", "60000");
  if (level != "exec" && level != "booted" && level != "network")
    base::fail(ErrorCode::invalid_argument, "unknown level {}: must be exec, booted or network", base::quoted(level));
  if (timeout.empty() || timeout.size() > 12 || timeout.find_first_not_of("0123456789") != timeout.npos)
    base::fail(ErrorCode::invalid_argument, "invalid timeout {}: must be a number of milliseconds", base::quoted(timeout));
  auto query = request.query;
  query.erase("level");
  query.erase("timeout");
  auto q = query_string(query);
  Asked a{*client_, "/1.0/instances/" + escape(request.path.at(0)), q.empty() ? "" : "?" + q, request.path[0], Clock::now() + Milliseconds(std::stoll(timeout))};
  for (auto pause = Milliseconds(10);; pause = std::min(pause * 3 / 2, Milliseconds(500))) {
    auto state = a.state(); // also says when there is no such instance
    a.check_running(state);
    bool ready = false;
    try {
      if (level == "network") {
        ready = a.has_address(state);
      } else {
        auto code = a.run(level == "exec" ? json::array{"true"} : json::array{"/bin/sh", "-c", booted_script});
        // A guest without a shell or that command is as ready as can be told once something could be run in it.
        ready = code && (level == "exec" || *code == 0 || *code == 126 || *code == 127);
      }
    } catch (const Error &e) {
      if (e.code() == ErrorCode::unavailable || e.code() == ErrorCode::forbidden || e.code() == ErrorCode::permission_denied) throw;
      // Not yet; the next look tells whether it stopped.
    }
    if (ready) return;
    if (a.over()) base::fail(ErrorCode::timeout, "instance {} was not ready ({}) within {} ms", base::quoted(a.name), level, timeout);
    std::this_thread::sleep_for(std::min(pause, a.left()));
  }
}

} // namespace incus::remote
