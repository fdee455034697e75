// SPDX-License-Identifier: Apache-2.0
#include <cstring>
#include <fcntl.h>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>

#include "suite.hpp"

using namespace suite;

namespace {

void use_files(Instance &c) {
  c.write_file("/tmp/a", "hello\n");
  CHECK(c.read_file("/tmp/a") == "hello\n");
  auto i = c.file_info("/tmp/a");
  CHECK(i.type == "file");
  CHECK(i.size == 6);
  CHECK(i.mode == 0644);
  CHECK(i.uid == 0);
  CHECK(i.gid == 0);
  CHECK(i.modified_at > Time());

  // Owner and mode are those of a new file only.
  FileOptions o;
  o.uid = 1000;
  o.gid = 1001;
  o.mode = 0640;
  c.write_file("/tmp/b", "x", o);
  i = c.file_info("/tmp/b");
  CHECK(i.uid == 1000);
  CHECK(i.gid == 1001);
  CHECK(i.mode == 0640);
  o.mode = 0600;
  o.uid = 5;
  c.write_file("/tmp/b", "longer than it was", o);
  i = c.file_info("/tmp/b");
  CHECK(i.uid == 1000);
  CHECK(i.mode == 0640);
  c.write_file("/tmp/b", "short");
  CHECK(c.read_file("/tmp/b") == "short");
  FileOptions append;
  append.append = true;
  c.write_file("/tmp/b", " and more", append);
  CHECK(c.read_file("/tmp/b") == "short and more");
  REFUSED(not_found, "/tmp/none", c.write_file("/tmp/none", "x", append));
  c.write_file("/tmp/empty", "");
  CHECK(c.read_file("/tmp/empty").empty());
  std::string odd("\0\n\xff", 3);
  c.write_file("/tmp/odd \xc3\xa4\n", odd);
  CHECK((c.read_file("/tmp/odd \xc3\xa4\n") == odd));
  std::string large(3'000'000, 'x');
  for (std::size_t at = 0; at < large.size(); at += 1000) large[at] = static_cast<char>('a' + at / 1000 % 26);
  c.write_file("/tmp/large", large);
  CHECK((c.read_file("/tmp/large") == large));
  // A path without a leading slash begins at the root.
  CHECK(c.read_file("tmp/a") == "hello\n");

  c.make_directory("/tmp/d", o);
  i = c.file_info("/tmp/d");
  CHECK(i.type == "directory");
  CHECK(i.mode == 0600);
  CHECK(i.uid == 5);
  c.make_directory("/tmp/d"); // there already: as it was
  CHECK(c.file_info("/tmp/d").mode == 0600);
  c.make_directory("/tmp/e");
  CHECK(c.file_info("/tmp/e").mode == 0755);
  for (auto *n : {"z", "a", "m"}) c.write_file(std::string("/tmp/e/") + n, n);
  CHECK(c.list_directory("/tmp/e") == std::vector<std::string>{"a", "m", "z"});
  CHECK(c.list_directory("/tmp/d").empty());

  c.make_symlink("/tmp/l", "e/a");
  c.make_symlink("/tmp/l", "e/a"); // the same: nothing to do
  CHECK(c.read_symlink("/tmp/l") == "/tmp/e/a");
  CHECK(c.file_info("/tmp/l").type == "symlink");
  REFUSED(already_exists, "/tmp/l", c.make_symlink("/tmp/l", "other"));
  c.write_file("/tmp/l", "through the link");
  CHECK(c.read_file("/tmp/e/a") == "through the link");
  CHECK(c.file_info("/tmp/l").type == "symlink");
  c.make_symlink("/tmp/dangling", "e/new");
  c.write_file("/tmp/dangling", "made where it points");
  CHECK(c.read_file("/tmp/e/new") == "made where it points");
  c.make_symlink("/tmp/up", "../../../../../../tmp/e");
  CHECK(c.list_directory("/tmp/e").size() == 4);
  CHECK(c.read_file("/tmp/up/a") == "through the link");
  c.make_symlink("/tmp/loop", "loop");
  REFUSED(invalid_argument, "loop", c.write_file("/tmp/loop", "x"));

  REFUSED(not_found, "/tmp/none", c.read_file("/tmp/none"));
  REFUSED(not_found, "/tmp/a/b", c.read_file("/tmp/a/b"));
  REFUSED(not_found, "/tmp/none", c.write_file("/tmp/none/x", "x"));
  REFUSED(not_found, "/tmp/none", c.make_directory("/tmp/none/x"));
  REFUSED(not_found, "/tmp/none", c.remove_file("/tmp/none"));
  REFUSED(invalid_argument, "directory", c.write_file("/tmp/e", "x"));
  REFUSED(invalid_argument, "directory", c.read_file("/tmp/e"));
  REFUSED(invalid_argument, "no directory", c.list_directory("/tmp/l"));
  REFUSED(invalid_argument, "path", c.read_file(""));
  REFUSED(invalid_argument, "NUL", c.read_file(std::string("/tmp/a\0b", 8)));
  REFUSED(invalid_argument, "long", c.read_file("/" + std::string(5000, 'x')));
  REFUSED(invalid_argument, "", c.read_file("/" + std::string(300, 'x')));

  REFUSED(conflict, "not empty", c.remove_file("/tmp/e"));
  c.remove_file("/tmp/d");
  c.remove_file("/tmp/l");
  CHECK(c.file_info("/tmp/e/a").type == "file"); // what it pointed to stays
  c.remove_file("/tmp/e", true);
  REFUSED(not_found, "/tmp/e", c.list_directory("/tmp/e"));
}

/// One packet of SFTP: length, type, rest.
std::string packet(int type, const std::string &rest) {
  std::string out;
  auto n = static_cast<unsigned>(rest.size() + 1);
  for (int i = 24; i >= 0; i -= 8) out += static_cast<char>(n >> i);
  out += static_cast<char>(type);
  return out + rest;
}
std::string u32(unsigned v) {
  std::string out;
  for (int i = 24; i >= 0; i -= 8) out += static_cast<char>(v >> i);
  return out;
}
std::string sized(const std::string &s) { return u32(static_cast<unsigned>(s.size())) + s; }

struct Sftp {
  int fd;
  explicit Sftp(Instance &c) : fd(c.open_sftp()) {
    timeval t{20, 0};
    ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t);
  }
  ~Sftp() { ::close(fd); }
  std::string read(std::size_t n) {
    std::string out(n, '\0');
    std::size_t at = 0;
    while (at < n) {
      auto r = ::recv(fd, out.data() + at, n - at, 0);
      if (r <= 0) break;
      at += static_cast<std::size_t>(r);
    }
    out.resize(at);
    return out;
  }
  /// The answer without its length; empty at the end of the connection.
  std::string ask(const std::string &p) {
    if (!p.empty()) ::send(fd, p.data(), p.size(), MSG_NOSIGNAL);
    auto head = read(4);
    if (head.size() < 4) return {};
    std::size_t n = 0;
    for (char c : head) n = n << 8 | static_cast<unsigned char>(c);
    return read(n);
  }
  /// Code of a status answer, -1 for another answer.
  int status(const std::string &p) {
    auto r = ask(p);
    return r.size() > 8 && r[0] == 101 ? r[8] : -1;
  }
};

} // namespace

TEST_CASE("files: of a running instance") {
  World w;
  auto c = w.run("c1");
  use_files(c);
  if (real()) {
    c.write_file("/tmp/seen", "by the guest");
    CHECK(c.exec({"cat", "/tmp/seen"}).stdout_data == "by the guest");
    CHECK(c.exec({"stat", "-c", "%u:%g:%a", "/tmp/b"}).stdout_data == "1000:1001:640\n");
    c.exec({"sh", "-c", "busybox mkfifo /tmp/fifo; busybox ln -s /tmp /tmp/outside"});
    REFUSED(invalid_argument, "regular", c.read_file("/tmp/fifo"));
    REFUSED(invalid_argument, "regular", c.write_file("/tmp/fifo", "x"));
    c.write_file("/tmp/outside/in", "inside");
    CHECK(c.exec({"cat", "/tmp/in"}).stdout_data == "inside");
    // What the guest mounted is seen too.
    CHECK(c.read_file("/proc/1/comm") == c.exec({"cat", "/proc/1/comm"}).stdout_data);
  }
}

TEST_CASE("files: of a stopped instance, kept by start, snapshot, restore and copy") {
  World w;
  auto c = w.make("c1");
  use_files(c);
  c.write_file("/tmp/kept", "1");
  c.create_snapshot({"s1", false, {}}).wait();
  c.write_file("/tmp/kept", "2");
  InstanceCreate copy;
  copy.name = "c2";
  copy.source.type = "copy";
  copy.source.source = "c1";
  w.host.create_instance(copy).wait();
  auto other = w.host.instance("c2");
  CHECK(other.read_file("/tmp/kept") == "2");
  c.restore("s1").wait();
  CHECK(c.read_file("/tmp/kept") == "1");
  CHECK(other.read_file("/tmp/kept") == "2");
  c.rename("c3").wait();
  CHECK(c.read_file("/tmp/kept") == "1");
  c.start().wait();
  CHECK(c.read_file("/tmp/b") == "short and more");
  CHECK(c.file_info("/tmp/b").uid == 1000);
  c.stop(true).wait();
  CHECK(c.read_file("/tmp/kept") == "1");
}

TEST_CASE("files: events and refusals of the rows") {
  World w;
  auto c = w.make("c1");
  auto events = w.host.listen({"lifecycle"});
  c.write_file("/tmp/a", "1");
  CHECK(saw(events, "instance-file-pushed"));
  c.read_file("/tmp/a");
  CHECK(saw(events, "instance-file-retrieved"));
  c.remove_file("/tmp/a");
  CHECK(saw(events, "instance-file-deleted"));

  auto post = [&](std::map<std::string, std::string> headers) {
    RawCall r;
    r.method = "POST";
    r.path = "/1.0/instances/c1/files?path=/tmp/x";
    r.headers = std::move(headers);
    w.host.call(r);
  };
  post({{"X-Incus-type", "directory"}, {"X-Incus-mode", "0o711"}, {"X-Incus-uid", "-1"}});
  CHECK(c.file_info("/tmp/x").mode == 0711);
  REFUSED(invalid_argument, "x-incus-uid", post({{"X-Incus-uid", "-2"}}));
  REFUSED(invalid_argument, "x-incus-uid", post({{"X-Incus-uid", "4294967295"}}));
  REFUSED(invalid_argument, "x-incus-gid", post({{"X-Incus-gid", "1x"}}));
  REFUSED(invalid_argument, "x-incus-mode", post({{"X-Incus-mode", "0888"}}));
  REFUSED(invalid_argument, "x-incus-mode", post({{"X-Incus-mode", "77777"}}));
  REFUSED(invalid_argument, "x-incus-type", post({{"X-Incus-type", "fifo"}}));
  REFUSED(invalid_argument, "x-incus-write", post({{"X-Incus-write", "replace"}}));
  REFUSED(invalid_argument, "target", post({{"X-Incus-type", "symlink"}}));
  REFUSED(not_found, "nothere", w.host.instance("nothere").read_file("/tmp/a"));
  REFUSED(invalid_argument, "path", w.host.request("GET", "/1.0/instances/c1/files"));
}

TEST_CASE("files: SFTP") {
  World w;
  auto c = w.run("c1");
  c.write_file("/tmp/a", "0123456789");
  {
    Sftp s(c);
    auto hello = s.ask(packet(1, u32(3)));
    REQUIRE(hello.size() > 5);
    CHECK(hello[0] == 2);
    CHECK(hello[4] == 3);
    for (auto *e : {"posix-rename@openssh.com", "statvfs@openssh.com", "hardlink@openssh.com", "fsync@openssh.com"}) CHECK(hello.find(e) != std::string::npos);
    // open, read, end of file, close
    auto h = s.ask(packet(3, u32(1) + sized("/tmp/a") + u32(1) + u32(0)));
    REQUIRE(h.size() > 9);
    CHECK(h[0] == 102);
    auto handle = h.substr(5);
    auto d = s.ask(packet(5, u32(2) + handle + std::string(7, '\0') + '\2' + u32(100)));
    CHECK(d == std::string("\x67", 1) + u32(2) + sized("23456789"));
    CHECK(s.status(packet(5, u32(3) + handle + std::string(7, '\0') + '\x40' + u32(100))) == 1);
    CHECK(s.status(packet(4, u32(4) + handle)) == 0);
    CHECK(s.status(packet(4, u32(5) + handle)) == 4);
    // write to a new file, rename it over another
    h = s.ask(packet(3, u32(6) + sized("/tmp/new") + u32(2 | 8 | 16) + u32(4) + u32(0600)));
    handle = h.substr(5);
    CHECK(s.status(packet(6, u32(7) + handle + std::string(8, '\0') + sized("written"))) == 0);
    CHECK(s.status(packet(200, u32(8) + sized("fsync@openssh.com") + handle)) == 0);
    CHECK(s.status(packet(4, u32(9) + handle)) == 0);
    CHECK(s.status(packet(18, u32(10) + sized("/tmp/new") + sized("/tmp/a"))) == 4);
    CHECK(s.status(packet(200, u32(11) + sized("posix-rename@openssh.com") + sized("/tmp/new") + sized("/tmp/a"))) == 0);
    CHECK(s.status(packet(200, u32(12) + sized("hardlink@openssh.com") + sized("/tmp/a") + sized("/tmp/hard"))) == 0);
    // what is not there, not known, not whole
    CHECK(s.status(packet(17, u32(13) + sized("/tmp/none"))) == 2);
    CHECK(s.status(packet(99, u32(14))) == 8);
    CHECK(s.status(packet(200, u32(15) + sized("other@example.org"))) == 8);
    CHECK(s.status(packet(17, u32(16) + u32(100) + "short")) == 5);
    CHECK(s.ask(packet(16, u32(17) + sized("/tmp/../etc/./x//y/.."))).substr(13, 6) == "/etc/x");
    // a directory
    c.make_directory("/tmp/many");
    for (int i = 0; i < 300; i++) c.write_file("/tmp/many/" + std::to_string(i), "");
    h = s.ask(packet(11, u32(18) + sized("/tmp/many")));
    handle = h.substr(5);
    std::size_t names = 0;
    for (;;) {
      auto r = s.ask(packet(12, u32(19) + handle));
      REQUIRE(r.size() > 8);
      if (r[0] != 104) break;
      names += static_cast<unsigned char>(r[8]) + 256U * static_cast<unsigned char>(r[7]);
    }
    CHECK(names == 300);
    // opened as a file it can be looked at and changed, not read: clients open first and ask then what it is
    h = s.ask(packet(3, u32(20) + sized("/tmp/many") + u32(1) + u32(0)));
    REQUIRE(h.size() > 5);
    CHECK(h[0] == 102);
    handle = h.substr(5);
    auto attrs = s.ask(packet(8, u32(21) + handle));
    REQUIRE(attrs.size() > 28);
    CHECK(attrs[0] == 105);
    CHECK((static_cast<unsigned char>(attrs[27]) & 0xf0) == 0x40); // a directory's type in its mode
    CHECK(s.status(packet(5, u32(22) + handle + std::string(8, '\0') + u32(100))) == 4);
    CHECK(s.status(packet(10, u32(23) + handle + u32(4) + u32(0700))) == 0);
    CHECK(c.file_info("/tmp/many").mode == 0700);
    CHECK(s.status(packet(3, u32(24) + sized("/tmp/many") + u32(2) + u32(0))) == 4);
    // a packet beyond every limit ends the connection
    CHECK(s.ask(u32(0x7fffffff) + "x").empty());
  }
  CHECK(c.read_file("/tmp/hard") == "written");
  CHECK(c.file_info("/tmp/a").mode == 0600);
  {
    // A client that goes in the middle of a packet; one that never says anything.
    Sftp gone(c);
    CHECK(::send(gone.fd, "\0\0\0\x9\x1", 5, MSG_NOSIGNAL) == 5);
    Sftp silent(c);
    c.stop(true).wait();
    CHECK(silent.ask({}).empty()); // ended with the instance
  }
  // A stopped one has it too.
  Sftp s(c);
  CHECK(s.ask(packet(1, u32(3))).size() > 5);
}
