// SPDX-License-Identifier: Apache-2.0
#include "remote/transfer.hpp"

#include <cerrno>
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/records.hpp"
#include "base/error.hpp"
#include "base/ids.hpp"
#include "base/names.hpp"
#include "embed/state_dir.hpp"
#include "helper/unpack/common.hpp"
#include "image/helper.hpp"
#include "remote/door.hpp"
#include "remote/multipart.hpp"

namespace incus::remote {

using api::Reply;
using api::Request;
using api::Row;

namespace {

constexpr std::size_t piece = 256 * 1024;
/// Answers up to this are read before the call returns.
constexpr std::int64_t short_body = 256 * 1024;
constexpr auto silence = std::chrono::minutes(10);

std::size_t read_some(int fd, char *to, std::size_t size) {
  for (;;) {
    auto n = ::read(fd, to, size);
    if (n >= 0) return static_cast<std::size_t>(n);
    if (errno == EAGAIN) {
      pollfd p{fd, POLLIN, 0};
      ::poll(&p, 1, -1);
    } else if (errno != EINTR) {
      base::fail_errno(errno, "cannot read what is to be sent");
    }
  }
}

void write_all(int fd, const char *data, std::size_t size) {
  while (size > 0) {
    auto n = ::write(fd, data, size);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) {
      pollfd p{fd, POLLOUT, 0};
      ::poll(&p, 1, -1);
      continue;
    }
    if (n < 0) base::fail_errno(errno, "cannot write what the server sent");
    data += n;
    size -= static_cast<std::size_t>(n);
  }
}

std::optional<std::int64_t> size_of(int fd) {
  struct stat st;
  if (::fstat(fd, &st) < 0) base::fail_errno(errno, "cannot read what is to be sent");
  if (!S_ISREG(st.st_mode)) return std::nullopt;
  auto at = ::lseek(fd, 0, SEEK_CUR);
  return std::max<std::int64_t>(0, st.st_size - std::max<std::int64_t>(at, 0));
}

/// Exactly as many bytes as were promised, or all of them when nothing was.
Source source_of(int fd, std::optional<std::int64_t> size) {
  return [fd, size, left = size.value_or(0)](char *to, std::size_t room) mutable -> std::size_t {
    if (size && left == 0) return 0;
    auto n = read_some(fd, to, size ? std::min(room, static_cast<std::size_t>(left)) : room);
    if (size && n == 0) base::fail(ErrorCode::conflict, "a file became shorter by {} bytes while it was sent", left);
    if (size) left -= static_cast<std::int64_t>(n);
    return n;
  };
}

Source source_of(std::string text) {
  return [text = std::move(text), at = std::size_t(0)](char *to, std::size_t room) mutable {
    auto n = text.copy(to, room, at);
    at += n;
    return n;
  };
}

Source one_after_another(std::vector<Source> all) {
  return [all = std::move(all), at = std::size_t(0)](char *to, std::size_t room) mutable -> std::size_t {
    for (; at < all.size(); at++)
      if (auto n = all[at](to, room)) return n;
    return 0;
  };
}

/// One end of a pair for the reader. A byte of his lies in ours until all went well: a socket closed with something unread tells the other
/// side ECONNRESET instead of an end.
class Outlet {
public:
  Outlet() {
    int p[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, p) < 0) base::fail_errno(errno, "cannot make a pair of sockets");
    ours_.reset(p[0]);
    theirs_.reset(p[1]);
    if (::send(p[1], "", 1, MSG_NOSIGNAL) != 1) base::fail_errno(errno, "cannot prepare a pair of sockets");
  }
  base::Fd theirs() { return std::move(theirs_); }
  /// False: the reader has left.
  bool write(const char *data, std::size_t size) {
    while (size > 0) {
      auto n = ::send(ours_.get(), data, size, MSG_NOSIGNAL);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return false;
      data += n;
      size -= static_cast<std::size_t>(n);
    }
    return true;
  }
  void finish() {
    char c;
    while (::recv(ours_.get(), &c, 1, MSG_DONTWAIT) < 0 && errno == EINTR) {
    }
    // Closed by the destructor alone: stop() may come from another thread.
    ::shutdown(ours_.get(), SHUT_WR);
  }
  void stop() { ::shutdown(ours_.get(), SHUT_RDWR); }

private:
  base::Fd ours_, theirs_;
};

/// Carries an answer to its readers in a thread.
struct Carrier {
  explicit Carrier(Pool::Lease l) : lease(std::move(l)) {}
  Pool::Lease lease;
  std::vector<std::unique_ptr<Outlet>> outlets;
  std::string boundary;
  std::int64_t length = -1;

  std::size_t read(char *to, std::size_t size) { return lease->read(to, size, std::chrono::duration_cast<Milliseconds>(silence)); }

  void run() {
    std::vector<char> buffer(piece);
    if (boundary.empty()) {
      while (auto n = read(buffer.data(), buffer.size()))
        if (!outlets[0]->write(buffer.data(), n)) return;
      outlets[0]->finish();
      return;
    }
    Multipart parts([&](char *to, std::size_t size) { return read(to, size); }, boundary);
    for (std::size_t i = 0; i < outlets.size(); i++) {
      if (!parts.next()) base::fail(ErrorCode::corrupt, "the server's answer has too few parts");
      bool wanted = true;
      while (auto n = parts.read(buffer.data(), buffer.size()))
        if (wanted) wanted = outlets[i]->write(buffer.data(), n);
      if (wanted) outlets[i]->finish();
    }
    while (parts.next()) {
    }
    while (read(buffer.data(), buffer.size())) {
    }
  }
};

std::vector<Reply::Body> short_answer(Carrier &c, Reply::Body body) {
  base::Fd fd(::memfd_create("incus-answer", MFD_CLOEXEC));
  if (!fd) base::fail_errno(errno, "cannot make a memory file for the server's answer");
  std::vector<char> buffer(piece);
  std::int64_t total = 0;
  while (auto n = c.read(buffer.data(), buffer.size())) {
    write_all(fd.get(), buffer.data(), n);
    total += static_cast<std::int64_t>(n);
  }
  ::lseek(fd.get(), 0, SEEK_SET);
  body.fd = std::move(fd);
  body.size = total;
  std::vector<Reply::Body> out;
  out.push_back(std::move(body));
  return out;
}

} // namespace

void body_from_descriptor(Outgoing &o, int fd) {
  auto size = size_of(fd);
  o.source = source_of(fd, size);
  o.size = size.value_or(-1);
}

void body_from_image(Outgoing &o, int image, int rootfs) {
  if (rootfs < 0) {
    o.headers["content-type"] = "application/octet-stream";
    return body_from_descriptor(o, image);
  }
  auto boundary = "incus" + base::random_hex(16);
  o.headers["content-type"] = "multipart/form-data; boundary=" + boundary;
  auto part = [&](const char *name) {
    return fmt::format("\r\n--{0}\r\nContent-Disposition: form-data; name=\"{1}\"; filename=\"{1}\"\r\nContent-Type: application/octet-stream\r\n\r\n", boundary, name);
  };
  auto first = part("metadata").substr(2), second = part("rootfs"), last = "\r\n--" + boundary + "--\r\n";
  auto a = size_of(image), b = size_of(rootfs);
  if (a && b) o.size = static_cast<std::int64_t>(first.size() + second.size() + last.size()) + *a + *b;
  o.source = one_after_another({source_of(first), source_of(image, a), source_of(second), source_of(rootfs, b), source_of(last)});
}

std::vector<Reply::Body> bodies_of(const ClientPtr &client, Pool::Lease lease, const Head &head) {
  auto c = std::make_shared<Carrier>(std::move(lease));
  c->boundary = multipart_boundary(head.header("content-type"));
  Reply::Body one;
  one.name = harmless_name(header_parameter(head.header("content-disposition"), "filename"));
  one.content_type = head.header("content-type");
  if (one.content_type.empty()) one.content_type = "application/octet-stream";
  one.size = head.length;
  if (c->boundary.empty() && head.length >= 0 && head.length <= short_body) return short_answer(*c, std::move(one));
  std::vector<Reply::Body> out;
  for (auto *part : {"metadata", "rootfs"}) {
    if (c->boundary.empty() && !out.empty()) break;
    auto outlet = std::make_unique<Outlet>();
    Reply::Body b;
    b.name = c->boundary.empty() ? one.name : part;
    b.content_type = c->boundary.empty() ? one.content_type : "application/octet-stream";
    b.size = c->boundary.empty() ? one.size : -1;
    b.fd = outlet->theirs();
    out.push_back(std::move(b));
    c->outlets.push_back(std::move(outlet));
  }
  client->crew.start([c] { c->run(); },
                     [c] {
                       for (auto &o : c->outlets) o->stop();
                     });
  return out;
}

namespace {

std::string form(const std::map<std::string, std::string> &values) { return query_string(values); }

/// The operation of an upload, and what the client has to do after it.
class ThenOperation final : public api::OperationBackend, public std::enable_shared_from_this<ThenOperation> {
public:
  explicit ThenOperation(std::shared_ptr<RemoteOperation> first) : first_(std::move(first)) {}
  void start(const ClientPtr &client, std::function<void()> then) {
    client->crew.start(
        [self = shared_from_this(), then = std::move(then)] {
          std::exception_ptr failure;
          try {
            self->first_->wait(std::nullopt);
            self->first_->rethrow();
            then();
          } catch (...) {
            failure = std::current_exception();
          }
          std::lock_guard lock(self->mutex_);
          self->failure_ = failure;
          self->done_ = true;
          self->changed_.notify_all();
        },
        {});
  }
  OperationInfo info() override {
    auto i = first_->info();
    std::lock_guard lock(mutex_);
    if (!done_ && i.status_code >= 200) {
      i.status = "Running";
      i.status_code = 103;
    }
    return i;
  }
  bool wait(std::optional<Milliseconds> timeout) override {
    std::unique_lock lock(mutex_);
    if (timeout) return changed_.wait_for(lock, *timeout, [&] { return done_; });
    changed_.wait(lock, [&] { return done_; });
    return true;
  }
  void rethrow() override {
    std::lock_guard lock(mutex_);
    if (done_ && failure_) std::rethrow_exception(failure_);
  }
  void cancel() override { first_->cancel(); }
  void control(const json::value &message) override { first_->control(message); }

private:
  const std::shared_ptr<RemoteOperation> first_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::exception_ptr failure_;
  bool done_ = false;
};

std::string text_of(const std::string &key, const std::vector<std::string> &all) {
  std::string out;
  for (auto &a : all) out += (out.empty() ? "" : "&") + (key + "=" + escape(a));
  return out;
}

/// A directory as a tar, made by the helper as it is sent.
Source packed(const Request &request, std::shared_ptr<void> &keep) {
  int p[2];
  if (::pipe2(p, O_CLOEXEC) < 0) base::fail_errno(errno, "cannot make a pipe for the image");
  struct Packing {
    base::Fd out;
    std::unique_ptr<image::Job> job;
  };
  auto packing = std::make_shared<Packing>();
  packing->out.reset(p[0]);
  base::Fd in(p[1]);
  packing->job = std::make_unique<image::Job>(embed::helper_path("incus-unpack"), static_cast<std::uint32_t>(unpack::Op::pack), std::vector<std::string>{},
                                              std::vector<int>{request.stream("directory"), in.get()});
  keep = packing;
  return [packing](char *to, std::size_t room) -> std::size_t {
    auto n = read_some(packing->out.get(), to, room);
    if (n)
      packing->job->poll({});
    else
      packing->job->finish({}); // says why when it failed
    return n;
  };
}

void move_alias(Client &client, const std::string &name, const std::string &fingerprint, const std::string &query) {
  json::object body{{"target", fingerprint}, {"description", ""}};
  try {
    client.call("PUT", "/1.0/images/aliases/" + escape(name) + query, body);
  } catch (const Error &e) {
    if (e.code() != ErrorCode::not_found) throw;
    body["name"] = name;
    client.call("POST", "/1.0/images/aliases" + query, body);
  }
}

} // namespace

Reply RemoteDoor::upload_image(const Row &row, Request &request) {
  auto how = api::from_json<ImageImport>(request.body);
  request.body = nullptr;
  auto o = outgoing(row, request);
  auto aliases = how.aliases;
  if (!how.alias.empty()) aliases.insert(aliases.begin(), how.alias);
  if (how.public_) o.headers["x-incus-public"] = "true";
  if (!how.filename.empty()) o.headers["x-incus-filename"] = how.filename;
  if (!how.properties.empty()) o.headers["x-incus-properties"] = form(how.properties);
  if (!aliases.empty() && !how.reuse) o.headers["x-incus-aliases"] = text_of("alias", aliases);
  if (how.profiles && !how.profiles->empty()) o.headers["x-incus-profiles"] = text_of("profile", *how.profiles);
  if (!how.fingerprint.empty()) o.headers["x-incus-fingerprint"] = how.fingerprint;
  for (auto &[k, v] : o.headers)
    if (!base::is_one_line(v)) base::fail(ErrorCode::invalid_argument, "invalid file name {}: it must stand on one line", base::quoted(v));
  std::shared_ptr<void> keep;
  if (int fd = request.stream("directory"); fd >= 0) {
    o.headers["content-type"] = "application/octet-stream";
    o.source = packed(request, keep);
  } else if (int rootfs = request.stream("rootfs"); rootfs >= 0) {
    int metadata = request.stream("metadata");
    if (metadata < 0) base::fail(ErrorCode::invalid_argument, "an image's rootfs was given without its metadata");
    body_from_image(o, metadata, rootfs);
  } else {
    int image = request.stream("image") >= 0 ? request.stream("image") : request.stream("body") >= 0 ? request.stream("body") : request.stream("metadata");
    if (image < 0) base::fail(ErrorCode::invalid_argument, "no image was given");
    o.headers["content-type"] = "application/octet-stream";
    body_from_descriptor(o, image);
  }
  auto answer = client_->call(std::move(o), std::chrono::duration_cast<Milliseconds>(silence));
  auto document = answer.metadata;
  auto reply = from_answer(row, std::move(answer));
  auto op = std::dynamic_pointer_cast<RemoteOperation>(reply.operation);
  // What the headers of an upload cannot say.
  json::object change;
  if (how.profiles && how.profiles->empty()) change["profiles"] = json::array();
  if (how.expires_at) change["expires_at"] = api::to_json(*how.expires_at);
  if (!how.reuse) aliases.clear();
  if (!op || (aliases.empty() && change.empty() && how.fingerprint.empty())) return reply;
  auto project = query_string(request.query);
  auto both = std::make_shared<ThenOperation>(op);
  both->start(client_, [client = client_, op, aliases, change, wanted = how.fingerprint, query = project.empty() ? "" : "?" + project] {
    auto i = op->info();
    auto m = api::parse_json(i.metadata.text.empty() ? "null" : i.metadata.text, "the operation's metadata");
    auto *f = m.is_object() ? m.get_object().if_contains("fingerprint") : nullptr;
    if (!f || !f->is_string()) base::fail(ErrorCode::internal, "the server does not name the image it imported");
    std::string got(f->get_string()), url = "/1.0/images/" + escape(got) + query;
    if (!wanted.empty() && wanted != got) {
      auto removed = std::make_shared<RemoteOperation>(client, operation_from_json(client->call("DELETE", url).metadata));
      removed->wait(std::nullopt);
      base::fail(ErrorCode::corrupt, "the image has the fingerprint {}, expected {}", got, wanted);
    }
    if (!change.empty()) client->call("PATCH", url, change);
    for (auto &a : aliases) move_alias(*client, a, got, query);
  });
  reply.operation = both;
  return reply;
}

Reply RemoteDoor::export_image(const Row &row, Request &request) {
  auto o = outgoing(row, request);
  Head head;
  std::optional<Answer> answer;
  auto lease = client_->stream(o, std::chrono::duration_cast<Milliseconds>(silence), head, answer);
  if (answer) base::fail(ErrorCode::internal, "the server answers the export of an image with a document");
  auto read = [&](char *to, std::size_t size) { return lease->read(to, size, std::chrono::duration_cast<Milliseconds>(silence)); };
  std::vector<char> buffer(piece);
  Reply reply;
  auto boundary = multipart_boundary(head.header("content-type"));
  json::object facts{{"split", !boundary.empty()}, {"rootfs_squashfs", false}};
  if (boundary.empty()) {
    while (auto n = read(buffer.data(), buffer.size())) write_all(request.stream("metadata"), buffer.data(), n);
  } else {
    Multipart parts(read, boundary);
    for (auto *role : {"metadata", "rootfs"}) {
      if (!parts.next()) base::fail(ErrorCode::corrupt, "the server sent no {} of the image", role);
      std::string magic;
      while (auto n = parts.read(buffer.data(), buffer.size())) {
        if (magic.size() < 4) magic.append(buffer.data(), std::min<std::size_t>(n, 4 - magic.size()));
        write_all(request.stream(role), buffer.data(), n);
      }
      // By its content: the names that a server gives are not relied on.
      if (role == std::string_view("rootfs")) facts["rootfs_squashfs"] = magic == "hsqs";
    }
    while (parts.next()) {
    }
    while (read(buffer.data(), buffer.size())) {
    }
  }
  reply.metadata = std::move(facts);
  return reply;
}

Reply RemoteDoor::sftp(const Row &row, Request &request) {
  auto socket = std::find_if(request.streams.begin(), request.streams.end(), [](auto &s) { return s.role == "sftp"; });
  if (socket == request.streams.end()) base::fail(ErrorCode::invalid_argument, "sftp needs a stream socket in the role \"sftp\"");
  auto o = outgoing(row, request);
  o.headers["upgrade"] = "sftp";
  o.headers["connection"] = "Upgrade";
  struct Tunnel {
    Pool::Lease lease;
    base::Fd socket;
  };
  Head head;
  std::optional<Answer> answer;
  auto t = std::make_shared<Tunnel>(Tunnel{client_->stream(o, std::chrono::minutes(1), head, answer), std::move(socket->fd)});
  if (head.status != 101) base::fail(ErrorCode::not_supported, "the server does not speak SFTP at {}", row.path);
  // Its end is told by the pool, which interrupts the connection.
  client_->crew.start([t] { t->lease->tunnel(std::move(t->socket)); }, {});
  return {};
}

} // namespace incus::remote
