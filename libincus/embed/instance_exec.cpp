// SPDX-License-Identifier: Apache-2.0
// Commands and consoles: streams that come with the call or later, recorded output, control messages.
#include <algorithm>
#include <boost/json.hpp>
#include <sys/mman.h>

#include "api/records.hpp"
#include "base/error.hpp"
#include "base/names.hpp"
#include "embed/body.hpp"
#include "embed/engine.hpp"
#include "embed/instance_urls.hpp"

namespace incus::embed {

namespace json = boost::json;

namespace {

instance::ExecSpec exec_spec(ExecRequest request, std::vector<api::Stream> &streams) {
  instance::ExecSpec e;
  e.request = std::move(request);
  for (auto &s : streams) {
    if (s.role == "stdin") e.in = std::move(s.fd);
    if (s.role == "stdout") e.out = std::move(s.fd);
    if (s.role == "stderr") e.err = std::move(s.fd);
  }
  return e;
}

/// A message of the control stream of a command.
void control(instance::Exec &session, const json::value &message) {
  auto o = message.if_object();
  auto *name = o ? o->if_contains("command") : nullptr;
  if (!name || !name->is_string()) base::fail(ErrorCode::invalid_argument, "a control message must be an object with a command");
  auto &command = name->get_string();
  if (command == "signal") {
    auto *number = o->if_contains("signal");
    if (!number || !number->is_int64()) base::fail(ErrorCode::invalid_argument, "the control command \"signal\" needs a number \"signal\"");
    return session.signal(static_cast<int>(std::clamp<std::int64_t>(number->get_int64(), -1, 65)));
  }
  if (command == "window-resize") {
    auto *args = o->if_contains("args");
    auto *size = args ? args->if_object() : nullptr;
    auto side = [&](const char *key) {
      auto *v = size ? size->if_contains(key) : nullptr;
      return static_cast<int>(std::min<std::int64_t>(to_number(v && v->is_string() ? std::string(v->get_string()) : "", key), 65536));
    };
    auto width = side("width"), height = side("height");
    return session.resize(width, height);
  }
  base::fail(ErrorCode::invalid_argument, "unknown control command {}", base::quoted(std::string_view(command)));
}

/// Waits for what was started, with control messages of a client that came by itself going to it.
int attend(instance::Exec &session, const std::shared_ptr<instance::Exec> &held, const std::shared_ptr<api::Rendezvous> &late) {
  if (late) {
    late->on_control([held](const json::value &m) { control(*held, m); });
    late->on_gone([held] { held->close(); });
  }
  int code = -1;
  session.wait({}, code);
  // Nothing of the client's reaches it after its end.
  if (late) {
    late->on_control({});
    late->on_gone({});
  }
  return code;
}

void check(const ExecRequest &r) {
  if (r.command.empty()) base::fail(ErrorCode::invalid_argument, "no command was given");
  for (auto &a : r.command)
    if (a.find('\0') != std::string::npos) base::fail(ErrorCode::invalid_argument, "a command argument must not hold a NUL: {}", base::quoted(a));
  for (auto &[k, v] : r.environment)
    if (k.empty() || k.find('=') != std::string::npos || k.find('\0') != std::string::npos || v.find('\0') != std::string::npos)
      base::fail(ErrorCode::invalid_argument, "invalid environment variable {}: a name must not be empty or hold '=', and nothing a NUL", base::quoted(k));
  if (!r.cwd.empty() && r.cwd[0] != '/') base::fail(ErrorCode::invalid_argument, "invalid working directory {}: must be an absolute path", base::quoted(r.cwd));
}

/// How to end who is attached to a console, from the time the place is taken to the time it is left.
class Attached {
public:
  void end() {
    std::unique_lock lock(mutex_);
    ended_ = true;
    auto stop = stop_;
    lock.unlock();
    if (stop) stop();
  }
  void stop_by(std::function<void()> stop) {
    std::unique_lock lock(mutex_);
    stop_ = stop;
    bool now = ended_;
    lock.unlock();
    if (now && stop) stop();
  }

private:
  std::mutex mutex_;
  std::function<void()> stop_;
  bool ended_ = false;
};

} // namespace

api::Reply Engine::instance_exec_post(api::Request &q) {
  auto r = api::from_json<ExecRequest>(q.body);
  auto name = q.path[0], project = q.project();
  check(r);
  api::Reply reply;
  if (q.streams.empty() && !q.rendezvous) return exec_alone(q, std::move(r));
  auto s = instance_operation(q, "Executing command", name, true);
  s.class_ = "websocket";
  s.metadata["command"] = api::to_json(r.command);
  s.metadata["environment"] = api::to_json(r.environment);
  s.metadata["interactive"] = r.interactive;
  if (auto late = q.rendezvous) {
    if (auto status = instances_->info(project, name).status; status != "Running")
      base::fail(ErrorCode::conflict, "cannot run a command in instance {}: Instance is not running ({})", base::quoted(name), status);
    reply.operation = operations_->start(
        std::move(s), [&](TaskOperation &op) { op.on_cancel = [late] { late->cancel(); }; },
        [this, late, project, name, r = std::move(r)](TaskOperation &op) mutable {
          auto streams = late->wait();
          std::shared_ptr<instance::Exec> session = instances_->exec(project, name, exec_spec(std::move(r), streams));
          op.set_handlers([session](const json::value &m) { control(*session, m); }, [session] { session->close(); });
          op.set_metadata("return", attend(*session, session, late));
        });
    return reply;
  }
  // Started here, so that a stopped instance or one without a handler is refused by the call itself.
  std::shared_ptr<instance::Exec> session = instances_->exec(project, name, exec_spec(std::move(r), q.streams));
  reply.operation = operations_->start(
      std::move(s), [&](TaskOperation &op) { op.set_handlers([session](const json::value &m) { control(*session, m); }, [session] { session->close(); }); },
      [session](TaskOperation &op) { op.set_metadata("return", attend(*session, session, {})); });
  return reply;
}

/// Nobody is there to talk to it: no input, and output to files when that was asked for.
api::Reply Engine::exec_alone(api::Request &q, ExecRequest r) {
  auto name = q.path[0], project = q.project();
  auto s = instance_operation(q, "Executing command", name, true);
  s.resources["containers"] = s.resources["instances"];
  instance::ExecSpec e;
  e.request = std::move(r);
  auto store = instances_->store_of(project, name);
  base::Fd out, err;
  bool record = flag_of(q.body, "record-output");
  if (record) {
    e.request.interactive = false;
    out = instances_->logs().new_output(store);
    err = instances_->logs().new_output(store);
    e.out = out.dup();
    e.err = err.dup();
  }
  std::shared_ptr<instance::Exec> session = instances_->exec(project, name, std::move(e));
  auto output = std::make_shared<json::object>();
  api::Reply reply;
  try {
    reply.operation = operations_->start(
        std::move(s),
        [&](TaskOperation &op) {
          op.set_handlers([session](const json::value &m) { control(*session, m); }, [session] { session->close(); });
          if (!record) return;
          auto file = "exec_" + op.info().id;
          instances_->logs().publish_output(store, file + ".stdout", out);
          instances_->logs().publish_output(store, file + ".stderr", err);
          (*output)["1"] = instance_url(project, name + "/logs/exec-output/" + file + ".stdout");
          (*output)["2"] = instance_url(project, name + "/logs/exec-output/" + file + ".stderr");
        },
        [session, output](TaskOperation &op) {
          auto code = attend(*session, session, {});
          if (!output->empty()) op.set_metadata("output", *output);
          op.set_metadata("return", code);
        });
  } catch (...) {
    session->close();
    throw;
  }
  return reply;
}

api::Reply Engine::instance_console_post(api::Request &q) {
  auto name = q.path[0], project = q.project();
  auto *o = q.body.if_object();
  auto text = [&](const char *key) {
    auto *v = o ? o->if_contains(key) : nullptr;
    return v ? api::from_json<std::string>(*v) : std::string();
  };
  auto size = [&](const char *key) {
    auto *v = o ? o->if_contains(key) : nullptr;
    return v ? static_cast<int>(std::clamp<std::int64_t>(api::from_json<std::int64_t>(*v), 0, 65535)) : 0;
  };
  auto type = text("type");
  if (type == "vga") base::fail(ErrorCode::invalid_argument, "VGA console is only supported by virtual machines");
  if (!type.empty() && type != "console") base::fail(ErrorCode::invalid_argument, "Unknown console type {}", base::quoted(type));
  instance::ConsoleSpec spec;
  spec.width = size("width");
  spec.height = size("height");
  auto s = instance_operation(q, "Showing console", name, true);
  s.class_ = "websocket";
  auto attached = std::make_shared<Attached>();
  auto place = instances_->hold_console(project, name, flag_of(q.body, "force"), [attached] { attached->end(); });
  for (auto &stream : q.streams) {
    if (stream.role == "stdin") spec.in = std::move(stream.fd);
    if (stream.role == "stdout") spec.out = std::move(stream.fd);
  }
  auto late = q.rendezvous;
  if (late) attached->stop_by([late] { late->cancel(); });
  // What a closure holds must be copied with it.
  auto held = std::make_shared<instance::ConsoleSpec>(std::move(spec));
  api::Reply reply;
  reply.operation = operations_->start(
      std::move(s), [&](TaskOperation &op) { op.on_cancel = [attached] { attached->end(); }; },
      [this, late, project, name, held, attached, place](TaskOperation &op) mutable {
        if (late)
          for (auto &stream : late->wait()) {
            if (stream.role == "stdin") held->in = std::move(stream.fd);
            if (stream.role == "stdout") held->out = std::move(stream.fd);
          }
        std::shared_ptr<instance::Exec> session = instances_->console(project, name, std::move(*held));
        attached->stop_by([session] { session->close(); });
        op.set_handlers([session](const json::value &m) { control(*session, m); }, [session] { session->close(); });
        attend(*session, session, late);
        attached->stop_by({});
        // The next one may have it before this operation is told as ended.
        session->close();
        place.reset();
      });
  return reply;
}

api::Reply Engine::instance_console_get(api::Request &q) {
  auto text = instances_->console_log(q.project(), q.path[0]);
  api::Reply::Body body;
  body.name = "console.log";
  body.size = static_cast<std::int64_t>(text.size());
  body.fd.reset(::memfd_create("incus-console", MFD_CLOEXEC));
  if (!body.fd) base::fail_errno(errno, "cannot make a memory file for the console's log");
  for (std::size_t done = 0; done < text.size();) {
    auto n = ::write(body.fd.get(), text.data() + done, text.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) base::fail_errno(n < 0 ? errno : EIO, "cannot keep the console's log");
    done += static_cast<std::size_t>(n);
  }
  ::lseek(body.fd.get(), 0, SEEK_SET);
  api::Reply reply;
  reply.bodies.push_back(std::move(body));
  return reply;
}

api::Reply Engine::instance_console_delete(api::Request &q) {
  instances_->clear_console_log(q.project(), q.path[0]);
  return {};
}

} // namespace incus::embed
