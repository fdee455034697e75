// SPDX-License-Identifier: Apache-2.0
#include "server.hpp"

#include <cstdlib>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "output.hpp"

namespace cli {

// ---- Context

Context::Context(const Command &c, std::string p, Parsed parsed)
    : command(c), path(std::move(p)), args(std::move(parsed.args)), settings(Settings::load()), values_(std::move(parsed.values)) {}
Context::~Context() = default;

const Flag *Context::find(std::string_view name) const {
  static const auto global = global_flags();
  for (auto &f : command.flags)
    if (f.name == name) return &f;
  for (auto &f : global)
    if (f.name == name) return &f;
  return nullptr;
}
bool Context::given(std::string_view name) const { return values_.find(name) != values_.end(); }
bool Context::flag(std::string_view name) const { return text(name) == "true"; }
std::string Context::text(std::string_view name) const {
  auto it = values_.find(name);
  if (it != values_.end()) return it->second.empty() ? "" : it->second.front();
  auto *f = find(name);
  return f ? std::string(f->initial) : std::string();
}
Strings Context::list(std::string_view name) const {
  auto it = values_.find(name);
  return it == values_.end() ? Strings() : it->second;
}
std::int64_t Context::number(std::string_view name) const { return std::atoll(text(name).c_str()); }

std::pair<std::string, std::string> Context::split(const std::string &argument) const {
  auto colon = argument.find(':');
  if (colon == std::string::npos) return {settings.default_remote, argument};
  auto remote = argument.substr(0, colon);
  if (!settings.remotes.count(remote)) {
    // A snapshot's name may hold a colon.
    if (remote.find('/') != std::string::npos) return {settings.default_remote, argument};
    fail("The remote \"{}\" doesn't exist", remote);
  }
  return {remote, argument.substr(colon + 1)};
}

Server &Context::server(const std::string &remote) {
  auto name = flag("force-local") ? std::string("local") : remote;
  auto &slot = servers_[name];
  if (!slot) slot = std::make_unique<Server>(*this, name);
  return *slot;
}

Target Context::target(const std::string &argument) {
  Target t;
  std::tie(t.remote, t.name) = split(argument);
  t.server = &server(t.remote);
  return t;
}

void Context::bad_arguments() const {
  print(help_text(command, path, false));
  fail("Invalid number of arguments");
}

// ---- Server

std::string escape(std::string_view text) {
  std::string out;
  for (unsigned char c : text) {
    if (isalnum(c) || strchr("-_.~", c))
      out += static_cast<char>(c);
    else
      out += fmt::format("%{:02X}", c);
  }
  return out;
}

std::string url(std::initializer_list<std::string_view> parts) {
  std::string out = "/1.0";
  for (auto &p : parts) out += "/" + escape(p);
  return out;
}

Server::Server(Context &context, std::string remote) : context_(context), remote_(std::move(remote)) {
  auto &r = context_.settings.remote(remote_);
  if (r.protocol != "incus" || r.is_public) fail("The remote isn't a private server");
  project_ = context_.text("project");
  if (project_.empty())
    if (auto *name = getenv("INCUS_PROJECT")) project_ = name;
  if (project_.empty()) project_ = r.project;
}

namespace {
// A template, so that this also compiles with a library whose only doors are in its own process.
template <class Options> void make_known(Options &o, const Settings &settings, const std::string &remote, const std::string &token) {
  if constexpr (requires { o.trust_token; }) {
    o.client_certificate = settings.file("client.crt");
    o.client_key = settings.file("client.key");
    auto known = settings.server_certificate(remote);
    if (access(known.c_str(), R_OK) == 0) o.server_certificate = known;
    o.trust_token = token;
  } else {
    fail("This build of the library reaches no servers over the network");
  }
}
} // namespace

incus::OpenOptions https_options(const Settings &settings, const std::string &remote, const std::string &token) {
  incus::OpenOptions o;
  make_known(o, settings, remote, token);
  return o;
}

incus::Host &Server::host() {
  if (host_) return *host_;
  auto &r = context_.settings.remote(remote_);
  incus::OpenOptions options;
  if (r.address.rfind("https:", 0) == 0) {
    context_.settings.make_client_certificate();
    options = https_options(context_.settings, remote_);
  }
  if (context_.debug()) options.log = [](incus::LogLevel, const std::string &line) { print_error("DEBUG  " + line + "\n"); };
  std::string uri = r.address;
  auto *instead = getenv("INCUS_CLI_URI"); // tests: the local server is somewhere else
  if (uri.rfind("unix:", 0) == 0 && instead && *instead) {
    uri = instead;
  } else if (uri.rfind("unix:", 0) == 0) {
    auto path = uri.substr(5);
    while (path.rfind("//", 0) == 0) path.erase(0, 1);
    bool ours = path.empty() || path == "/";
    if (ours) path = local_socket();
    if (ours && geteuid() == 0 && !getenv("INCUS_SOCKET")) {
      own_ = path;
      if (!socket_answers(path)) start_daemon(path);
    }
    uri = "unix://" + path;
  }
  try {
    host_.emplace(incus::Host::open(uri, options));
  } catch (const incus::Error &e) {
    if (own_.empty() || e.code() != incus::ErrorCode::unavailable) throw;
    // It ended between our look and our call.
    await_end();
    host_.emplace(incus::Host::open(uri, options));
  }
  return *host_;
}

void Server::await_end() {
  auto until = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (socket_answers(own_) && std::chrono::steady_clock::now() < until) usleep(20000);
  if (!socket_answers(own_)) start_daemon(own_);
}

const std::string &Server::address() const { return context_.settings.remote(remote_).address; }

std::string Server::in_project(const std::string &path) const {
  if (project_.empty() || path.find("project=") != std::string::npos || path.rfind("/1.0", 0) != 0) return path;
  if (path.find("all-projects=") != std::string::npos) return path;
  return path + (path.find('?') == std::string::npos ? "?" : "&") + "project=" + escape(project_);
}

incus::RawReply Server::call(incus::RawCall call) {
  call.path = in_project(call.path);
  if (context_.debug()) print_error(fmt::format("DEBUG  {} {} {}\n", call.method, call.path, call.body));
  try {
    return host().call(call);
  } catch (const incus::Error &e) {
    // A daemon that ends because nobody was there refuses what comes then; it has done nothing of it. Reading may be repeated anyway.
    bool nothing_done = std::string_view(e.what()).find("shutting down") != std::string_view::npos || (call.method == "GET" && call.streams.empty());
    if (own_.empty() || e.code() != incus::ErrorCode::unavailable || !nothing_done) throw;
  }
  host_.reset();
  await_end();
  return host().call(call);
}

json::value Server::get(const std::string &path, std::string *etag) {
  incus::RawCall c;
  c.method = "GET";
  c.path = path;
  auto reply = call(std::move(c));
  if (etag) *etag = reply.etag;
  return parse_json(reply.metadata, path);
}

namespace {
incus::RawCall with(const std::string &method, const std::string &path, const json::value &body, const std::string &etag) {
  incus::RawCall c;
  c.method = method;
  c.path = path;
  if (!body.is_null()) c.body = json::serialize(body);
  c.if_match = etag;
  return c;
}
} // namespace

json::value Server::send(const std::string &method, const std::string &path, const json::value &body, const std::string &etag) {
  auto reply = call(with(method, path, body, etag));
  if (reply.operation) return metadata_of(wait_for(context_, *reply.operation));
  return parse_json(reply.metadata, path);
}

std::optional<incus::Operation> Server::start(const std::string &method, const std::string &path, const json::value &body, const std::string &etag) {
  return call(with(method, path, body, etag)).operation;
}

void Server::finish(const std::string &method, const std::string &path, const json::value &body, const std::string &etag) {
  if (auto op = start(method, path, body, etag)) wait_for(context_, *op);
}

const json::value &Server::info() {
  if (info_.is_null()) info_ = get("/1.0");
  return info_;
}
bool Server::has_extension(std::string_view name) {
  for (auto &e : array_at(info(), "api_extensions"))
    if (e.is_string() && std::string_view(e.get_string()) == name) return true;
  return false;
}
bool Server::clustered() { return truth(at(info(), "environment"), "server_clustered"); }
void Server::need(std::string_view extension) {
  if (!has_extension(extension)) fail("The server is missing the required \"{}\" API extension", extension);
}

bool socket_answers(const std::string &path) {
  sockaddr_un a{};
  a.sun_family = AF_UNIX;
  if (path.size() >= sizeof a.sun_path) return false;
  memcpy(a.sun_path, path.data(), path.size());
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  bool yes = fd >= 0 && connect(fd, reinterpret_cast<sockaddr *>(&a), sizeof a) == 0;
  // A socket that exists and refuses us for lack of rights is served by somebody.
  if (!yes && errno == EACCES) yes = true;
  if (fd >= 0) close(fd);
  return yes;
}

// ---- records

const json::value &at(const json::value &record, std::string_view field) {
  static const json::value none;
  if (!record.is_object()) return none;
  auto *v = record.get_object().if_contains(field);
  return v ? *v : none;
}
std::string str(const json::value &record, std::string_view field) {
  auto &v = at(record, field);
  if (v.is_string()) return std::string(v.get_string());
  return v.is_null() ? std::string() : json::serialize(v);
}
std::int64_t num(const json::value &record, std::string_view field) {
  auto &v = at(record, field);
  if (v.is_int64()) return v.get_int64();
  if (v.is_uint64()) return static_cast<std::int64_t>(v.get_uint64());
  if (v.is_double()) return static_cast<std::int64_t>(v.get_double());
  return 0;
}
bool truth(const json::value &record, std::string_view field) {
  auto &v = at(record, field);
  return v.is_bool() && v.get_bool();
}
const json::object &object_at(const json::value &record, std::string_view field) {
  static const json::object none;
  auto &v = at(record, field);
  return v.is_object() ? v.get_object() : none;
}
const json::array &array_at(const json::value &record, std::string_view field) {
  static const json::array none;
  auto &v = at(record, field);
  return v.is_array() ? v.get_array() : none;
}
Strings strings_at(const json::value &record, std::string_view field) {
  Strings out;
  for (auto &v : array_at(record, field))
    if (v.is_string()) out.emplace_back(v.get_string());
  return out;
}
json::object &make_object(json::value &record, std::string_view field) {
  auto &v = record.as_object()[field];
  if (!v.is_object()) v = json::object();
  return v.get_object();
}

std::pair<std::string, std::string> key_value(const std::string &text, std::string_view what) {
  auto equals = text.find('=');
  if (equals == std::string::npos) fail("{}: {}", what, text);
  return {text.substr(0, equals), text.substr(equals + 1)};
}

std::optional<std::string> piped_input() {
  if (is_terminal(0)) return std::nullopt;
  std::string all;
  char buffer[65536];
  for (;;) {
    auto n = read(0, buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return all;
    all.append(buffer, static_cast<std::size_t>(n));
  }
}

} // namespace cli
