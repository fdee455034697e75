// SPDX-License-Identifier: Apache-2.0
#include "server.hpp"

#include <boost/json.hpp>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <netinet/in.h>
#include <sstream>
#include <stdexcept>
#include <sys/socket.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace suite {

using namespace incus;
using namespace std::chrono_literals;

namespace {

std::string program(Daemon kind) {
  if (kind == Daemon::official) {
    for (const char *p : {"/usr/libexec/incus/incusd", "/usr/lib/incus/incusd", "/opt/incus/bin/incusd"})
      if (::access(p, X_OK) == 0) return p;
    throw std::runtime_error("the official incusd is not installed (package incus-base)");
  }
  const char *dir = std::getenv("INCUS_LIBEXEC");
  auto p = std::string(dir && *dir ? dir : "build/bin") + "/incusd";
  if (::access(p.c_str(), X_OK) != 0) throw std::runtime_error("no " + p + ": build it first");
  return p;
}

std::string tail(const std::string &path) {
  std::ifstream in(path);
  std::ostringstream out;
  out << in.rdbuf();
  auto t = out.str();
  return t.size() > 3000 ? t.substr(t.size() - 3000) : t;
}

std::string base64(const std::string &in) {
  static constexpr char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (std::size_t i = 0; i < in.size(); i += 3) {
    unsigned v = 0;
    for (std::size_t k = 0; k < 3; k++) v = v << 8 | (i + k < in.size() ? static_cast<unsigned char>(in[i + k]) : 0u);
    for (std::size_t k = 0; k < 4; k++) out += i + k > in.size() ? '=' : digits[v >> (18 - 6 * k) & 63];
  }
  return out;
}

/// A port nobody uses now.
int free_port() {
  int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in a{};
  a.sin_family = AF_INET;
  a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t len = sizeof a;
  bool ok = fd >= 0 && ::bind(fd, reinterpret_cast<sockaddr *>(&a), sizeof a) == 0 && ::getsockname(fd, reinterpret_cast<sockaddr *>(&a), &len) == 0;
  ::close(fd);
  if (!ok) throw std::runtime_error("no free port");
  return ntohs(a.sin_port);
}

} // namespace

Server::Server(Daemon kind, const std::string &directory) : directory_(directory) {
  auto path = program(kind);
  auto log = directory_ + ".log";
  std::cout.flush();
  pid_ = ::fork();
  if (pid_ < 0) throw std::runtime_error("cannot fork");
  if (pid_ == 0) {
    int fd = ::open(log.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600), null = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
    ::dup2(null, 0);
    ::dup2(fd, 1);
    ::dup2(fd, 2);
    ::setsid();
    ::setenv("INCUS_DIR", directory_.c_str(), 1);
    ::setenv("INCUS_LXC_TEMPLATE_CONFIG", "/usr/share/lxc/config", 0);
    ::execl(path.c_str(), "incusd", static_cast<char *>(nullptr));
    ::_exit(127);
  }
  try {
    wait_ready();
    auto host = Host::open(unix_uri());
    // The official daemon begins without a pool.
    if (host.storage_pools().empty()) {
      StoragePoolCreate pool;
      pool.name = "default";
      pool.driver = "dir";
      host.create_storage_pool(pool);
    }
    auto profile = host.profile("default").info();
    if (!profile.devices.count("root"))
      host.profile("default").update({profile.config, profile.description, {{"root", {{"type", "disk"}, {"path", "/"}, {"pool", "default"}}}}});
  } catch (const std::exception &e) {
    stop();
    throw std::runtime_error(std::string("the daemon did not come up: ") + e.what() + "\n" + tail(log));
  }
}

Server::~Server() { stop(); }

void Server::wait_ready() {
  auto end = std::chrono::steady_clock::now() + 60s;
  for (;;) {
    int status = 0;
    if (::waitpid(pid_, &status, WNOHANG) == pid_) {
      pid_ = -1;
      throw std::runtime_error("it ended with status " + std::to_string(status));
    }
    try {
      Host::open(unix_uri()).request("GET", "/internal/ready");
      return;
    } catch (const Error &) {
      if (std::chrono::steady_clock::now() > end) throw;
    }
    std::this_thread::sleep_for(20ms);
  }
}

void Server::stop() noexcept {
  if (pid_ < 0) return;
  // SIGPWR: instances too.
  ::kill(pid_, SIGPWR);
  for (int i = 0; i < 600; i++) {
    if (::waitpid(pid_, nullptr, WNOHANG) == pid_) {
      pid_ = -1;
      return;
    }
    std::this_thread::sleep_for(50ms);
  }
  std::cerr << "the daemon in " << directory_ << " had to be killed\n" << tail(directory_ + ".log");
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

std::string Server::serve_https(OpenOptions &options) {
  auto host = Host::open(unix_uri());
  auto address = "127.0.0.1:" + std::to_string(free_port());
  host.request("PATCH", "/1.0", R"({"config":{"core.https_address":")" + address + "\"}}");
  auto op = boost::json::parse(host.request("POST", "/1.0/certificates", R"({"type":"client","name":"suite","token":true})")).as_object();
  auto &m = op.at("metadata").as_object();
  boost::json::object token{{"client_name", "suite"},
                            {"fingerprint", m.at("fingerprint")},
                            {"addresses", boost::json::array{address}},
                            {"secret", m.at("secret")},
                            {"expires_at", "0001-01-01T00:00:00Z"}};
  auto ours = make_client_certificate("suite");
  options.client_certificate = ours.certificate;
  options.client_key = ours.key;
  options.trust_token = base64(boost::json::serialize(token));
  Host::open("https://", options);
  // From now on by the certificate alone.
  options.trust_token.clear();
  options.server_certificate = m.at("fingerprint").as_string().c_str();
  return "https://" + address;
}

} // namespace suite
