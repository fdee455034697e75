// SPDX-License-Identifier: Apache-2.0
// The two references: liblxc's own programs, and the official daemon by its REST API.
#include "subject.hpp"

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

namespace bench {
namespace {

/// Same root file system, id map, seccomp policy, capabilities, device rules, masked files, lxcfs and veth as ours; no hooks.
class Raw final : public Subject {
public:
  explicit Raw(const Sizes &s) : path_(s.work + "/raw") {
    std::filesystem::create_directories(path_ + "/c1");
    std::ofstream c(path_ + "/c1/config");
    c << "lxc.uts.name = c1\nlxc.rootfs.path = dir:" << s.rootfs << "\nlxc.rootfs.options = idmap=container\n"
      << "lxc.idmap = u 0 1000000 65536\nlxc.idmap = g 0 1000000 65536\nlxc.autodev = 1\nlxc.pty.max = 1024\nlxc.tty.max = 0\n"
      << "lxc.mount.auto = proc:mixed sys:mixed cgroup:mixed\nlxc.init.cmd = /sbin/init\n"
      << "lxc.cap.drop = mac_admin mac_override sys_time sys_module sys_rawio\n"
      << "lxc.seccomp.profile = /usr/share/lxc/config/common.seccomp\n"
      << "lxc.net.0.type = veth\nlxc.net.0.flags = up\nlxc.net.0.name = eth0\nlxc.log.level = error\n";
    bool unified = ::access("/sys/fs/cgroup/cgroup.controllers", F_OK) == 0;
    const char *key = unified ? "lxc.cgroup2.devices." : "lxc.cgroup.devices.";
    c << key << "deny = a\n";
    for (const char *d : {"c *:* m", "b *:* m", "c 1:3 rwm", "c 1:5 rwm", "c 1:7 rwm", "c 1:8 rwm", "c 1:9 rwm", "c 5:0 rwm", "c 5:1 rwm", "c 5:2 rwm", "c 136:* rwm", "c 10:229 rwm"})
      c << key << "allow = " << d << "\n";
    const std::string lxcfs = "/var/lib/lxcfs/proc";
    if (::access(lxcfs.c_str(), F_OK) == 0)
      for (auto &e : std::filesystem::directory_iterator(lxcfs)) {
        std::string n = e.path().filename();
        c << "lxc.mount.entry = " << lxcfs << "/" << n << " proc/" << n << " none bind,create=file,optional 0 0\n";
      }
  }
  void start() override { run({"/usr/bin/lxc-start", "-P", path_, "-n", "c1", "-d", "-o", path_ + "/log"}, true); }
  void exec_true() override { run({"/usr/bin/lxc-attach", "-P", path_, "-n", "c1", "--", "/bin/true"}, true); }
  void stop() override { run({"/usr/bin/lxc-stop", "-P", path_, "-n", "c1", "-k"}, true); }
  pid_t init() override {
    FILE *p = ::popen(("/usr/bin/lxc-info -P " + path_ + " -n c1 -p -H").c_str(), "r");
    char line[64] = "";
    if (!p || !std::fgets(line, sizeof line, p)) line[0] = 0;
    if (p) ::pclose(p);
    return static_cast<pid_t>(std::atoi(line));
  }

private:
  std::string path_;
};

class Official final : public Subject {
public:
  explicit Official(std::string socket) : socket_(std::move(socket)) { finish(request("POST", "/1.0/instances", create("c1", false))); }
  void start() override { state("c1", R"({"action":"start","timeout":30})"); }
  void stop() override { state("c1", R"({"action":"stop","force":true,"timeout":30})"); }
  void exec_true() override { exec("c1"); }
  pid_t init() override { return static_cast<pid_t>(std::atoi(field(request("GET", "/1.0/instances/c1/state"), "\"pid\":").c_str())); }
  bool launch(const std::string &name) override {
    finish(request("POST", "/1.0/instances", create(name, true)));
    exec(name);
    return true;
  }
  void remove(const std::string &name) override {
    state(name, R"({"action":"stop","force":true,"timeout":30})");
    finish(request("DELETE", "/1.0/instances/" + name));
  }

private:
  static std::string create(const std::string &name, bool start) {
    return R"({"name":")" + name + R"(","source":{"type":"image","alias":"busy"},"start":)" + (start ? "true" : "false") + "}";
  }
  void exec(const std::string &name) {
    std::string done = finish(request("POST", "/1.0/instances/" + name + "/exec", R"({"command":["/bin/true"],"wait-for-websocket":false,"interactive":false})"));
    if (done.find("\"return\":0") == std::string::npos) throw std::runtime_error("exec by the official daemon: " + done);
  }
  void state(const std::string &name, const std::string &body) { finish(request("PUT", "/1.0/instances/" + name + "/state", body)); }
  /// HTTP/1.0: the answer ends with the connection.
  std::string request(const std::string &method, const std::string &path, const std::string &body = {}) {
    int s = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un a{};
    a.sun_family = AF_UNIX;
    std::strncpy(a.sun_path, socket_.c_str(), sizeof a.sun_path - 1);
    if (::connect(s, reinterpret_cast<sockaddr *>(&a), sizeof a) < 0) throw std::runtime_error("cannot connect to " + socket_);
    std::string r = method + " " + path + " HTTP/1.0\r\nHost: incus\r\nContent-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
    if (::send(s, r.data(), r.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(r.size())) throw std::runtime_error("cannot send");
    std::string out;
    char b[65536];
    for (ssize_t n; (n = ::read(s, b, sizeof b)) > 0;) out.append(b, static_cast<std::size_t>(n));
    ::close(s);
    return out;
  }
  static std::string field(const std::string &text, const std::string &key) {
    auto at = text.find(key);
    if (at == std::string::npos) return {};
    at += key.size();
    return text.substr(at, text.find_first_of(",}\"", at) - at);
  }
  std::string finish(const std::string &answer) {
    std::string op = field(answer, "\"operation\":\"");
    if (op.empty()) throw std::runtime_error("official daemon: " + answer);
    std::string done = request("GET", op + "/wait?timeout=60");
    if (done.find("\"status_code\":200") == std::string::npos || done.find("\"err\":\"\"") == std::string::npos) throw std::runtime_error("official daemon: " + done);
    return done;
  }
  std::string socket_;
};

} // namespace

std::unique_ptr<Subject> make_raw(const Sizes &s) { return std::make_unique<Raw>(s); }
std::unique_ptr<Subject> make_official(const std::string &socket) { return std::make_unique<Official>(socket); }

} // namespace bench
