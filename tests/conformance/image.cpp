// SPDX-License-Identifier: Apache-2.0
// Images made by hand: an uncompressed ustar needs no library.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "suite.hpp"

namespace suite {

namespace {

class Tar {
public:
  void directory(const std::string &name, int mode = 0755) { entry(name + "/", '5', mode, "", ""); }
  void file(const std::string &name, const std::string &content, int mode = 0644) { entry(name, '0', mode, "", content); }
  void link(const std::string &name, const std::string &target) { entry(name, '2', 0777, target, ""); }
  void write(const std::string &path) {
    std::ofstream out(path, std::ios::binary);
    out << data_ << std::string(1024, '\0');
    if (!out.flush()) throw std::runtime_error("cannot write " + path);
  }

private:
  void entry(const std::string &name, char type, int mode, const std::string &target, const std::string &content) {
    char h[512] = {};
    if (name.size() > 100 || target.size() > 100) throw std::runtime_error("name too long for ustar: " + name);
    std::memcpy(h, name.data(), name.size());
    std::snprintf(h + 100, 8, "%07o", static_cast<unsigned>(mode) & 07777);
    std::snprintf(h + 108, 8, "%07o", 0);
    std::snprintf(h + 116, 8, "%07o", 0);
    std::snprintf(h + 124, 12, "%011lo", static_cast<unsigned long>(content.size()));
    std::snprintf(h + 136, 12, "%011lo", 1700000000ul);
    std::memset(h + 148, ' ', 8);
    h[156] = type;
    std::memcpy(h + 157, target.data(), target.size());
    std::memcpy(h + 257, "ustar\00000", 8);
    unsigned sum = 0;
    for (unsigned char c : h) sum += c;
    std::snprintf(h + 148, 8, "%06o", sum);
    data_.append(h, 512).append(content).append((512 - content.size() % 512) % 512, '\0');
  }
  std::string data_;
};

std::string metadata(const std::string &arch, const std::string &properties) {
  return "architecture: " + arch + "\ncreation_date: 1700000000\nproperties:\n" + properties;
}

std::string busybox() {
  for (const char *p : {"/bin/busybox", "/usr/bin/busybox"})
    if (::access(p, X_OK) == 0) return read_file(p);
  throw std::runtime_error("no busybox on this machine (package busybox-static), of which the test image is made");
}

} // namespace

std::string architecture() {
  utsname u;
  ::uname(&u);
  return u.machine;
}

std::string read_file(const std::string &path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  if (!in) throw std::runtime_error("cannot read " + path);
  return out.str();
}

std::string sha256(const std::string &path) {
  std::string out;
  FILE *f = ::popen(("sha256sum < '" + path + "'").c_str(), "r");
  if (!f) throw std::runtime_error("cannot run sha256sum");
  char buf[128];
  while (std::fgets(buf, sizeof buf, f)) out += buf;
  ::pclose(f);
  return out.substr(0, out.find(' '));
}

const std::string &guest_image() {
  static const std::string path = [] {
    if (const char *given = std::getenv("INCUS_TEST_IMAGE"); given && *given) return std::string(given);
    Tar t;
    t.file("metadata.yaml", metadata(architecture(), "  os: busybox\n  release: \"1\"\n  description: busybox guest\n"));
    for (auto *d : {"", "/bin", "/dev", "/etc", "/proc", "/root", "/run", "/sbin", "/sys", "/tmp", "/usr", "/var"}) t.directory(std::string("rootfs") + d, 0755);
    t.file("rootfs/bin/busybox", busybox(), 0755);
    for (auto *a : {"sh", "ls", "cat", "echo", "true", "false", "sleep", "id", "mount", "uname", "touch", "mkdir", "rm", "kill", "env", "pwd", "hostname", "stat", "tty",
                    "stty", "head", "ip", "wc", "test", "poweroff", "reboot", "halt", "init"})
      t.link(std::string("rootfs/") + (std::string_view("poweroff reboot halt init").find(a) != std::string_view::npos ? "sbin/" : "bin/") + a, "/bin/busybox");
    t.file("rootfs/etc/passwd", "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/tmp:/bin/sh\n");
    t.file("rootfs/etc/group", "root:x:0:\nuser:x:1000:\n");
    t.file("rootfs/etc/inittab", "::sysinit:/bin/true\n::ctrlaltdel:/sbin/reboot\nnull::respawn:/bin/sleep 100000\n");
    auto to = scratch() + "/busy.tar";
    t.write(to);
    return to;
  }();
  return path;
}

std::string small_image(const std::string &mark, const std::string &more, const std::string &arch) {
  Tar t;
  t.file("metadata.yaml", metadata(arch.empty() ? architecture() : arch, "  os: small\n  mark: " + mark + "\n") + more);
  t.directory("rootfs");
  t.directory("rootfs/etc");
  t.file("rootfs/etc/mark", mark + "\n");
  auto to = scratch() + "/" + mark + ".tar";
  t.write(to);
  return to;
}

} // namespace suite
