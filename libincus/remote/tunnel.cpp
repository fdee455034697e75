// SPDX-License-Identifier: Apache-2.0
#include "remote/tunnel.hpp"

#include <arpa/inet.h>
#include <cerrno>
#include <openssl/evp.h>
#include <poll.h>
#include <sys/socket.h>

#include "base/error.hpp"
#include "base/names.hpp"

namespace incus::remote {

namespace {

using Clock = std::chrono::steady_clock;
constexpr std::size_t head_limit = 16 * 1024;

/// A conversation with the proxy, which ends at a time.
class Talk {
public:
  Talk(int fd, const base::Proxy &proxy, std::string to, Clock::time_point end) : fd_(fd), proxy_(proxy), to_(std::move(to)), end_(end) {}

  void send(std::string_view data) {
    while (!data.empty()) {
      auto n = ::send(fd_, data.data(), data.size(), MSG_NOSIGNAL);
      if (n > 0)
        data.remove_prefix(static_cast<std::size_t>(n));
      else if (errno == EAGAIN)
        wait(POLLOUT);
      else if (errno != EINTR)
        refuse(base::errno_text(errno));
    }
  }

  /// Exactly so many bytes: what follows is the server's.
  std::string receive(std::size_t count) {
    std::string out(count, '\0');
    std::size_t have = 0;
    while (have < count) {
      auto n = ::recv(fd_, out.data() + have, count - have, 0);
      if (n > 0)
        have += static_cast<std::size_t>(n);
      else if (n == 0)
        refuse("it closed the connection");
      else if (errno == EAGAIN)
        wait(POLLIN);
      else if (errno != EINTR)
        refuse(base::errno_text(errno));
    }
    return out;
  }

  [[noreturn]] void refuse(const std::string &why, ErrorCode code = ErrorCode::unavailable) const {
    base::fail(code, "cannot connect to {} through the proxy {}: {}", base::quoted(to_), base::quoted(proxy_.name()), why);
  }

private:
  void wait(short events) {
    for (;;) {
      auto left = std::chrono::ceil<std::chrono::milliseconds>(end_ - Clock::now()).count();
      pollfd p{fd_, events, 0};
      int n = left > 0 ? ::poll(&p, 1, static_cast<int>(std::min<long long>(left, 1 << 30))) : 0;
      if (n > 0) return;
      if (n == 0) refuse("it did not answer in time", ErrorCode::timeout);
      if (errno != EINTR) refuse(base::errno_text(errno));
    }
  }

  const int fd_;
  const base::Proxy &proxy_;
  const std::string to_;
  const Clock::time_point end_;
};

std::string base64(const std::string &in) {
  std::string out(4 * ((in.size() + 2) / 3) + 1, '\0');
  out.resize(static_cast<std::size_t>(
      ::EVP_EncodeBlock(reinterpret_cast<unsigned char *>(out.data()), reinterpret_cast<const unsigned char *>(in.data()), static_cast<int>(in.size()))));
  return out;
}

void http_connect(Talk &talk, const base::Proxy &proxy, const std::string &to) {
  auto request = "CONNECT " + to + " HTTP/1.1\r\nHost: " + to + "\r\nUser-Agent: libincus/" INCUS_VERSION "\r\n";
  if (!proxy.user.empty()) request += "Proxy-Authorization: Basic " + base64(proxy.user + ":" + proxy.password) + "\r\n";
  talk.send(request + "\r\n");
  std::string head;
  while (!head.ends_with("\r\n\r\n")) {
    if (head.size() >= head_limit) talk.refuse("the head of its answer does not end");
    head += talk.receive(1);
  }
  auto line = head.substr(0, head.find("\r\n"));
  bool form = line.size() >= 12 && line.starts_with("HTTP/1.") && line[8] == ' ';
  auto status = form ? line.substr(9, 3) : std::string();
  if (status == "407") talk.refuse("it wants a user and a password (another one, if one was given): set it as http://USER:PASSWORD@HOST:PORT", ErrorCode::forbidden);
  if (status.empty() || status[0] != '2') talk.refuse("it answers " + base::quoted(line));
}

void socks_connect(Talk &talk, const base::Proxy &proxy, const std::string &host, const std::string &port) {
  using namespace std::string_literals;
  bool named = !proxy.user.empty();
  talk.send(named ? "\x05\x02\x00\x02"s : "\x05\x01\x00"s);
  auto method = talk.receive(2);
  if (method[0] != 5) talk.refuse("it does not speak SOCKS 5");
  if (method[1] == 2 && named) {
    talk.send("\x01"s + static_cast<char>(proxy.user.size()) + proxy.user + static_cast<char>(proxy.password.size()) + proxy.password);
    if (talk.receive(2)[1] != 0) talk.refuse("it does not accept the user and password", ErrorCode::forbidden);
  } else if (method[1] != 0) {
    talk.refuse("it wants a user and a password: set it as socks5://USER:PASSWORD@HOST:PORT", ErrorCode::forbidden);
  }
  auto request = "\x05\x01\x00"s;
  char address[16];
  if (::inet_pton(AF_INET, host.c_str(), address) == 1)
    request += "\x01"s + std::string(address, 4);
  else if (::inet_pton(AF_INET6, host.c_str(), address) == 1)
    request += "\x04"s + std::string(address, 16);
  else if (host.size() <= 255)
    request += "\x03"s + static_cast<char>(host.size()) + host;
  else
    talk.refuse("the name is longer than 255 characters");
  auto n = static_cast<unsigned>(std::stoul(port));
  talk.send(request + static_cast<char>(n >> 8) + static_cast<char>(n & 255));
  auto answer = talk.receive(4);
  static constexpr const char *reasons[] = {"", "it failed", "its rules forbid it", "the network cannot be reached", "the host cannot be reached", "the connection was refused"};
  auto code = static_cast<unsigned char>(answer[1]);
  if (code != 0) talk.refuse(code < 6 ? reasons[code] : fmt::format("it answers with code {}", code));
  // Its own address, of no interest.
  std::size_t rest = answer[3] == 1 ? 4 : answer[3] == 4 ? 16 : answer[3] == 3 ? static_cast<unsigned char>(talk.receive(1)[0]) : 0;
  if (rest == 0) talk.refuse("it answers with an address of an unknown kind");
  talk.receive(rest + 2);
}

} // namespace

void connect_through(int fd, const base::Proxy &proxy, const std::string &host, const std::string &port, Clock::time_point end) {
  auto to = (host.find(':') == host.npos ? host : "[" + host + "]") + ":" + port;
  Talk talk(fd, proxy, to, end);
  if (proxy.kind == base::Proxy::Kind::http)
    http_connect(talk, proxy, to);
  else
    socks_connect(talk, proxy, host, port);
}

} // namespace incus::remote
