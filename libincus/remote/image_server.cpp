// SPDX-License-Identifier: Apache-2.0
#include "remote/image_server.hpp"

#include <algorithm>
#include <boost/json.hpp>
#include <cerrno>
#include <unistd.h>

#include "api/records.hpp"
#include "base/error.hpp"
#include "base/names.hpp"
#include "remote/client.hpp"
#include "remote/multipart.hpp"
#include "remote/operation.hpp"
#include "remote/tls.hpp"
#include "remote/transfer.hpp"

namespace incus::remote {

namespace {

constexpr std::size_t piece = 256 * 1024, answer_limit = 4 << 20;
using Clock = std::chrono::steady_clock;

void write_all(int fd, const char *data, std::size_t size) {
  while (size > 0) {
    auto n = ::write(fd, data, size);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) base::fail_errno(errno, "cannot keep the image that is fetched");
    data += n;
    size -= static_cast<std::size_t>(n);
  }
}

/// Counts what comes: not more than was said, and not for ever.
class Meter {
public:
  Meter(const TransferLimits &limits, std::string server, std::int64_t most, std::int64_t announced, const image::Moved &moved)
      : limits_(limits), server_(std::move(server)), most_(most), total_(announced > 0 ? static_cast<std::uint64_t>(announced) : 0), moved_(moved) {
    if (most_ >= 0 && announced > most_) too_much();
  }
  void count(std::size_t n) {
    done_ += n;
    if (most_ >= 0 && done_ > static_cast<std::uint64_t>(most_)) too_much();
    auto passed = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - begun_);
    if (passed > limits_.grace && done_ * 1000 / static_cast<std::uint64_t>(passed.count()) < limits_.rate)
      base::fail(ErrorCode::timeout, "the image from {} was given up: {} bytes came in {} s, less than {} a second", base::quoted(server_), done_, passed.count() / 1000,
                 limits_.rate);
    if (moved_) moved_(done_, total_);
  }

private:
  [[noreturn]] void too_much() {
    base::fail(ErrorCode::too_large, "the image from {} was given up: it is longer than the {} bytes that were announced or have room here", base::quoted(server_), most_);
  }
  const TransferLimits &limits_;
  const std::string server_;
  const std::int64_t most_;
  const std::uint64_t total_;
  const image::Moved &moved_;
  const Clock::time_point begun_ = Clock::now();
  std::uint64_t done_ = 0;
};

class ImageTransfer final : public image::Transfer {
public:
  ImageTransfer(const TransferLimits &limits, const base::Proxies &proxies) : limits_(limits), proxies_(proxies) {}

  ImageInfo find(const image::ServerPlace &at, const std::string &name, const std::string &type) override {
    auto client = connect(at);
    auto wanted = name;
    for (auto &c : wanted) c = c >= 'A' && c <= 'F' ? static_cast<char>(c + 32) : c;
    if (at.secret.empty()) {
      if (auto target = alias(*client, at, name, type); !target.empty()) wanted = target;
    }
    auto query = query_of(at);
    auto answer = client->call("GET", "/1.0/images/" + escape(wanted) + query, nullptr, limits_.silence);
    auto info = api::from_json<ImageInfo>(answer.metadata);
    // From here on the fingerprint is part of names.
    info.fingerprint = base::Fingerprint::parse(info.fingerprint).str();
    if (!info.fingerprint.starts_with(wanted))
      base::fail(ErrorCode::corrupt, "the server {} was asked for image {} and answers with {}", base::quoted(at.server), base::quoted(wanted), info.fingerprint);
    if (info.type.empty()) info.type = "container";
    if (!type.empty() && info.type != type)
      base::fail(ErrorCode::not_found, "image {} of {} is a {}, not a {}", base::quoted(name), base::quoted(at.server), base::quoted(info.type), base::quoted(type));
    return info;
  }

  image::ImageFiles fetch(const image::ServerPlace &at, const std::string &fingerprint, std::int64_t limit, const image::Spool &spool, const image::Moved &moved) override {
    auto client = connect(at);
    Outgoing o;
    o.method = "GET";
    o.target = "/1.0/images/" + fingerprint + "/export" + query_of(at);
    Head head;
    std::optional<Answer> answer;
    auto lease = client->stream(o, limits_.silence, head, answer);
    if (answer) base::fail(ErrorCode::internal, "the server {} answers the export of an image with a document", base::quoted(at.server));
    auto boundary = multipart_boundary(head.header("content-type"));
    // Heads of parts come on top of what the files have.
    Meter meter(limits_, at.server, limit < 0 ? -1 : limit + (boundary.empty() ? 0 : 64 * 1024), head.length, moved);
    auto read = [&](char *to, std::size_t size) {
      auto n = lease->read(to, size, limits_.silence);
      meter.count(n);
      return n;
    };
    image::ImageFiles files;
    std::vector<char> buffer(piece);
    if (boundary.empty()) {
      files.image = spool();
      while (auto n = read(buffer.data(), buffer.size())) write_all(files.image.get(), buffer.data(), n);
      return files;
    }
    Multipart parts(read, boundary);
    for (auto *fd : {&files.image, &files.rootfs}) {
      if (!parts.next()) {
        if (fd == &files.rootfs) break;
        base::fail(ErrorCode::corrupt, "the server {} sent nothing of the image", base::quoted(at.server));
      }
      *fd = spool();
      while (auto n = parts.read(buffer.data(), buffer.size())) write_all(fd->get(), buffer.data(), n);
    }
    if (parts.next()) base::fail(ErrorCode::corrupt, "the server {} sent more than two files for one image", base::quoted(at.server));
    return files;
  }

  image::WebImage resolve(const std::string &url, const std::string &architectures) override {
    Outgoing o;
    o.method = "HEAD";
    o.headers = {{"incus-server-architectures", architectures}, {"incus-server-version", INCUS_VERSION}};
    image::WebImage out;
    follow(parse_web_address(url), o, false, [&](Pool::Lease &, const Head &head, const WebAddress &at) {
      auto hash = head.header("incus-image-hash"), to = head.header("incus-image-url");
      if (hash.empty() || to.empty())
        base::fail(ErrorCode::invalid_argument, "{} names no image: its answer lacks the header {}", base::quoted(at.text()), hash.empty() ? "Incus-Image-Hash" : "Incus-Image-URL");
      out.fingerprint = base::Fingerprint::parse(hash).str();
      out.url = redirected(at, to).text();
    });
    return out;
  }

  base::Fd fetch_url(const std::string &from, const std::string &url, std::int64_t limit, const image::Spool &spool, const image::Moved &moved) override {
    auto first = parse_web_address(from), to = parse_web_address(url);
    bool jump = first.host != to.host && !is_private(first.host, proxies_);
    Outgoing o;
    o.method = "GET";
    base::Fd out;
    follow(to, o, jump, [&](Pool::Lease &lease, const Head &head, const WebAddress &at) {
      Meter meter(limits_, at.host, limit, head.length, moved);
      out = spool();
      std::vector<char> buffer(piece);
      while (auto n = lease->read(buffer.data(), buffer.size(), limits_.silence)) {
        meter.count(n);
        write_all(out.get(), buffer.data(), n);
      }
    });
    return out;
  }

  void push(const image::ServerPlace &to, const std::string &fingerprint, const std::string &filename, const std::optional<std::vector<std::string>> &profiles,
            const image::ImageFiles &files, const image::Moved &moved) override {
    auto client = connect(to);
    Outgoing o;
    o.method = "POST";
    o.target = "/1.0/images" + (to.project.empty() ? "" : "?project=" + escape(to.project));
    o.headers = {{"x-incus-secret", to.secret}, {"x-incus-fingerprint", fingerprint}, {"x-incus-filename", filename}};
    if (profiles && !profiles->empty()) {
      std::string text;
      for (auto &p : *profiles) text += (text.empty() ? "profile=" : "&profile=") + escape(p);
      o.headers["x-incus-profiles"] = text;
    }
    for (auto &[k, v] : o.headers)
      if (!base::is_one_line(v)) base::fail(ErrorCode::invalid_argument, "cannot push the image: {} holds a line end", k);
    body_from_image(o, files.image.get(), files.rootfs ? files.rootfs.get() : -1);
    std::uint64_t done = 0, total = o.size > 0 ? static_cast<std::uint64_t>(o.size) : 0;
    o.source = [&, inner = std::move(o.source)](char *at, std::size_t room) {
      auto n = inner(at, room);
      done += n;
      if (moved) moved(done, total);
      return n;
    };
    auto op = operation_from_json(client->call(std::move(o), limits_.silence).metadata);
    auto m = api::parse_json(op.metadata.text.empty() ? "null" : op.metadata.text, "the operation's metadata");
    auto *given = m.is_object() ? m.get_object().if_contains("secret") : nullptr;
    std::map<std::string, std::string> query{{"timeout", "10"}};
    if (given && given->is_string()) query["secret"] = std::string(given->get_string());
    while (op.status_code < 200)
      op = operation_from_json(client->call("GET", "/1.0/operations/" + escape(op.id) + "/wait?" + query_string(query), nullptr, limits_.silence + Milliseconds(10000)).metadata);
    throw_failure(op, "");
  }

  void cancel() override {
    std::lock_guard lock(mutex_);
    cancelled_ = true;
    if (client_) client_->pool.close();
  }

private:
  std::shared_ptr<Client> connect(const WebAddress &at, const std::string &certificate, bool only_public) {
    OpenOptions options;
    options.server_certificate = certificate;
    Target t;
    t.host = at.host;
    t.port = at.port;
    t.connect_timeout = limits_.connect;
    t.only_public = only_public;
    t.proxies = proxies_;
    // Who a daemon's user is to that server does not concern whoever asked the daemon.
    t.tls = std::make_shared<const Tls>(options, true);
    auto c = std::make_shared<Client>(std::move(t), base::Log::Sink());
    c->limit = answer_limit;
    std::lock_guard lock(mutex_);
    if (cancelled_) base::fail(ErrorCode::cancelled, "the transfer of the image was cancelled");
    return client_ = std::move(c);
  }
  std::shared_ptr<Client> connect(const image::ServerPlace &at) {
    auto address = parse_web_address(at.server);
    if (address.path != "/") base::fail(ErrorCode::invalid_argument, "invalid server {}: must be https://HOST or https://HOST:PORT, without a path", base::quoted(at.server));
    // A path would be read as a file's name.
    if (!at.certificate.empty() && at.certificate.find("-----BEGIN CERTIFICATE") == at.certificate.npos)
      base::fail(ErrorCode::invalid_argument, "invalid certificate of the server {}: must be a PEM text", base::quoted(at.server));
    return connect(address, at.certificate, false);
  }

  static std::string query_of(const image::ServerPlace &at) {
    std::map<std::string, std::string> query;
    if (!at.project.empty() && at.project != "default") query["project"] = at.project;
    if (!at.secret.empty()) query["secret"] = at.secret;
    return query.empty() ? "" : "?" + query_string(query);
  }

  /// The fingerprint behind an alias; empty when there is no such alias.
  std::string alias(Client &client, const image::ServerPlace &at, const std::string &name, const std::string &type) {
    try {
      auto found = api::from_json<ImageAliasInfo>(client.call("GET", "/1.0/images/aliases/" + escape(name) + query_of(at), nullptr, limits_.silence).metadata);
      if (!type.empty() && !found.type.empty() && found.type != type) return {};
      return base::Fingerprint::parse(found.target).str();
    } catch (const Error &e) {
      // A name with characters that no alias has is refused instead of not found.
      if (e.code() != ErrorCode::not_found && e.code() != ErrorCode::invalid_argument && e.code() != ErrorCode::forbidden) throw;
      return {};
    }
  }

  /// Asks where the address leads to in the end. `wary`: private addresses are refused from the first on.
  template <class F> void follow(WebAddress at, Outgoing request, bool wary, F answered) {
    auto first = at.host;
    for (int hops = 0;; hops++) {
      auto client = connect(at, {}, wary);
      request.target = at.path;
      auto lease = client->pool.take(true);
      auto head = lease->exchange(request, limits_.silence);
      auto location = head.header("location");
      if (head.status < 300 || head.status >= 400 || location.empty()) {
        if (head.status != 200) base::fail(ErrorCode::unavailable, "cannot fetch {}: the server answers with status {}", base::quoted(at.text()), head.status);
        return answered(lease, head, at);
      }
      if (hops == limits_.redirections) base::fail(ErrorCode::unavailable, "cannot fetch {}: it redirects more than {} times", base::quoted(at.text()), limits_.redirections);
      auto next = redirected(at, location);
      if (!wary && next.host != first) wary = !is_private(first, proxies_);
      at = std::move(next);
    }
  }

  const TransferLimits limits_;
  const base::Proxies proxies_;
  std::mutex mutex_;
  std::shared_ptr<Client> client_;
  bool cancelled_ = false;
};

} // namespace

std::string WebAddress::text() const { return "https://" + (host.find(':') == host.npos ? host : "[" + host + "]") + (port == "443" ? "" : ":" + port) + path; }

WebAddress parse_web_address(const std::string &url) {
  auto bad = [&](const char *why) { base::fail(ErrorCode::invalid_argument, "invalid address {}: {}", base::quoted(url), why); };
  std::string scheme = url.substr(0, 8);
  for (auto &c : scheme) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  if (scheme != "https://") bad("images are fetched over https:// alone");
  for (unsigned char c : url)
    if (c <= ' ' || c >= 127) bad("it holds a character that is not allowed there");
  WebAddress a;
  auto cut = url.find_first_of("/?#", 8);
  auto authority = url.substr(8, cut == url.npos ? cut : cut - 8);
  a.path = cut == url.npos ? "/" : url.substr(cut, url.find('#', cut) - cut);
  if (a.path.empty() || a.path[0] != '/') a.path = "/" + a.path;
  auto after = authority.rfind(']') == authority.npos ? 0 : authority.rfind(']');
  bool with_port = authority.find(':', after) != authority.npos;
  parse_authority(authority, a.host, a.port);
  if (!with_port) a.port = "443";
  return a;
}

WebAddress redirected(const WebAddress &from, const std::string &location) {
  try {
    if (location.starts_with("//")) return parse_web_address("https:" + location);
    if (location.starts_with("/")) {
      auto to = from;
      to.path = "/";
      return parse_web_address(to.text().substr(0, to.text().size() - 1) + location);
    }
    return parse_web_address(location);
  } catch (const Error &e) {
    throw Error(ErrorCode::forbidden, fmt::format("{} leads to {}, which is not followed", base::quoted(from.text()), base::quoted(location)), e);
  }
}

std::shared_ptr<image::Transfer> image_transfer(const TransferLimits &limits, const base::Proxies &proxies) { return std::make_shared<ImageTransfer>(limits, proxies); }
image::Transfers image_transfers() {
  return [](const base::Proxies &proxies) { return image_transfer({}, proxies); };
}

} // namespace incus::remote
