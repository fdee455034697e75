// SPDX-License-Identifier: Apache-2.0
// bench WORK BUSYBOX_IMAGE BUSYBOX_ROOTFS DEBIAN_IMAGE OFFICIAL_SOCKET RUNS: medians and ratios against references in the same run.
// Empty DEBIAN_IMAGE or OFFICIAL_SOCKET: without those lines. tests/bench/run prepares it all.
#include "subject.hpp"

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <sstream>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

#include <incus/incus.hpp>

namespace bench {
namespace {

using namespace std::chrono_literals;

incus::InstanceCreate with_nic() {
  incus::InstanceCreate c;
  c.devices["eth0"] = {{"type", "nic"}, {"nictype", "p2p"}, {"name", "eth0"}};
  return c;
}

incus::Host open_host(const std::string &dir, const std::string &driver) {
  incus::OpenOptions o;
  o.storage_driver = driver;
  return incus::Host::open("embed://" + dir, o);
}

void import_as(incus::Host &h, const std::string &file, const std::string &alias) {
  incus::ImageImport how;
  how.alias = alias;
  h.import_image(file, how).wait();
}

class Ours final : public Subject {
public:
  explicit Ours(const Sizes &s) : host_(open_host(s.work + "/ours", "dir")), c1_(nullptr, "default", "c1") {
    import_as(host_, s.busybox, "busy");
    auto r = with_nic();
    r.name = "c1";
    r.source.type = "image";
    r.source.alias = "busy";
    host_.create_instance(r).wait();
    c1_ = host_.instance("c1");
  }
  ~Ours() override {
    try {
      c1_.remove().wait();
    } catch (const incus::Error &) {
    }
  }
  void start() override { c1_.start().wait(); }
  void stop() override { c1_.stop(true).wait(); }
  void exec_true() override {
    if (c1_.exec({"/bin/true"}).exit_code != 0) throw std::runtime_error("exec of true failed");
  }
  pid_t init() override { return static_cast<pid_t>(c1_.state().pid); }
  bool launch(const std::string &name) override {
    auto c = host_.launch(name, "busy", with_nic(), incus::ReadyLevel::exec);
    if (c.exec({"/bin/true"}).exit_code != 0) throw std::runtime_error("exec of true failed");
    return true;
  }
  void remove(const std::string &name) override {
    auto c = host_.instance(name);
    c.stop(true).wait();
    c.remove().wait();
  }

private:
  incus::Host host_;
  incus::Instance c1_;
};

void heading(const char *what) {
  std::printf("%s\n", what);
  std::fflush(stdout);
}

/// One line: ours against a reference, with what issue 2 asks for. Nothing is judged that was not measured.
void compare(const char *what, double ours, const char *reference, double theirs, double most) {
  if (theirs <= 0) return;
  double ratio = ours / theirs;
  std::printf("  %-42s %9.2f ms, %s %9.2f ms, ratio %.2f (at most %.2f: %s)\n", what, ours, reference, theirs, ratio, most, ratio <= most ? "reached" : "MISSED");
  std::fflush(stdout);
}

void absolute(const char *what, double value, const char *unit, double most) {
  std::printf("  %-42s %9.2f %s (at most %.2f: %s)\n", what, value, unit, most, value <= most ? "reached" : "MISSED");
  std::fflush(stdout);
}

struct Figures {
  std::vector<double> start, again, exec, stop, launch;
};

/// Each subject's start is measured in two states of the kernel, and in the same two for everybody. The first move between control groups
/// after a pause waits for an RCU grace period, 10 to 20 ms; so a start measured wherever the others left off compares the order, not
/// the subjects: who came after the official daemon's pauses paid, who came right after another's start did not.
constexpr auto pause = 250ms;

void one_cycle(Subject &s, std::vector<double> &start, Figures &f) {
  Traces traces;
  start.push_back(milliseconds([&] { s.start(); }));
  traces.take(s.init());
  for (int i = 0; i < 3; i++) f.exec.push_back(milliseconds([&] { s.exec_true(); }));
  f.stop.push_back(milliseconds([&] {
    s.stop();
    auto limit = std::chrono::steady_clock::now() + 20s;
    while (!traces.gone()) {
      if (std::chrono::steady_clock::now() > limit) throw std::runtime_error("still there 20 s after stop: " + traces.left());
      std::this_thread::sleep_for(100us);
    }
  }));
}

void one_round(Subject &s, Figures &f) {
  std::this_thread::sleep_for(pause);
  one_cycle(s, f.start, f);
  one_cycle(s, f.again, f);
}

void against_references(const Sizes &sizes, const std::string &socket, int runs) {
  std::vector<std::pair<std::string, std::unique_ptr<Subject>>> subjects;
  subjects.emplace_back("ours", make_ours(sizes));
  subjects.emplace_back("raw", make_raw(sizes));
  if (!socket.empty()) subjects.emplace_back("official", make_official(socket));
  std::map<std::string, Figures> all;
  for (int i = -2; i < runs; i++) {
    std::map<std::string, Figures> warm;
    // Another order each round, so that nobody always runs after the same one.
    std::rotate(subjects.begin(), subjects.begin() + 1, subjects.end());
    for (auto &[name, s] : subjects) one_round(*s, i < 0 ? warm[name] : all[name]);
  }
  for (int i = 0; i < runs; i++)
    for (auto &[name, s] : subjects) {
      if (name == "raw") continue;
      std::string n = "l" + std::to_string(i);
      std::this_thread::sleep_for(pause);
      double t = milliseconds([&, &subject = *s] { subject.launch(n); });
      s->remove(n);
      if (i > 1) all[name].launch.push_back(t);
    }
  auto &o = all["ours"], &r = all["raw"], &d = all["official"];
  std::printf("medians of %d runs, interleaved, busybox image, pool dir:\n", runs);
  compare("start after a pause, until init runs", median(o.start), "raw", median(r.start), 1.5);
  compare("start right after a stop", median(o.again), "raw", median(r.again), 1.5);
  compare("forced stop until all is gone", median(o.stop), "raw", median(r.stop), 1.5);
  compare("exec of true", median(o.exec), "raw", median(r.exec), 1.3);
  compare("start after a pause, until init runs", median(o.start), "official", median(d.start), 0.2);
  compare("start right after a stop", median(o.again), "official", median(d.again), 0.2);
  compare("forced stop until all is gone", median(o.stop), "official", median(d.stop), 0.2);
  compare("exec of true", median(o.exec), "official", median(d.exec), 1.0);
  compare("launch until a command has run", median(o.launch), "official", median(d.launch), 0.3);
}

void many_instances(const Sizes &s, int runs) {
  const std::string dir = s.work + "/many";
  {
    auto h = open_host(dir, "dir");
    for (int i = 0; i < 1000; i++) {
      incus::InstanceCreate r;
      r.name = "i" + std::to_string(i);
      r.source.type = "none";
      r.config = {{"limits.memory", "64MiB"}, {"user.number", std::to_string(i)}};
      h.create_instance(r).wait();
    }
  }
  std::vector<double> open, list, full;
  for (int i = 0; i < runs; i++) {
    std::optional<incus::Host> h;
    open.push_back(milliseconds([&] { h.emplace(open_host(dir, "dir")); }));
    std::size_t n = 0;
    list.push_back(milliseconds([&] { n = h->instances().size(); }));
    if (n != 1000) throw std::runtime_error("expected 1000 instances, got " + std::to_string(n));
    full.push_back(milliseconds([&] { n = h->instances_full().size(); }));
  }
  heading("a state directory with 1,000 instances:");
  absolute("open, reconciliation included", median(open), "ms", 50);
  absolute("list with full config", median(list), "ms", 30);
  std::printf("  %-42s %9.2f ms\n", "list with state and snapshots", median(full));
}

/// Bytes that a tree takes on disk, hard links once, other mounts not.
std::uint64_t disk_use(const std::string &dir) {
  FILE *p = ::popen(("du -s -x -B1 '" + dir + "'").c_str(), "r");
  unsigned long long n = 0;
  if (!p || std::fscanf(p, "%llu", &n) != 1) n = 0;
  if (p) ::pclose(p);
  return n;
}

void hundred_on_overlay(const Sizes &s, const std::string &image) {
  const std::string dir = s.work + "/hundred";
  auto h = open_host(dir, "overlay");
  import_as(h, image, "image");
  auto create = [&](int i) {
    incus::InstanceCreate r;
    r.name = "i" + std::to_string(i);
    r.source.type = "image";
    r.source.alias = "image";
    h.create_instance(r).wait();
  };
  create(0);
  auto pool = dir + "/storage-pools";
  double one = static_cast<double>(disk_use(pool));
  for (int i = 1; i < 100; i++) create(i);
  double hundred = static_cast<double>(disk_use(pool));
  heading("disk of 100 instances of one image on overlay:");
  std::printf("  one %.1f MiB, hundred %.1f MiB, ratio %.3f (less than 1.20: %s); %.1f KiB an instance\n", one / 1048576, hundred / 1048576,
              hundred / one, hundred / one < 1.2 ? "reached" : "MISSED", (hundred - one) / 99 / 1024);
}

void debian(const Sizes &s, const std::string &image, int runs) {
  auto h = open_host(s.work + "/debian", "overlay");
  import_as(h, s.busybox, "busy");
  import_as(h, image, "debian");
  std::map<std::string, std::vector<double>> times;
  for (int i = -1; i < runs; i++)
    for (const char *what : {"busy", "debian"}) {
      std::optional<incus::Instance> c;
      double t = milliseconds([&] {
        c.emplace(h.launch(std::string(what) + std::to_string(i + 1), what, {}, incus::ReadyLevel::exec));
        c->exec({"/bin/true"});
      });
      if (i >= 0) times[what].push_back(t);
      c->stop(true).wait();
      c->remove().wait();
    }
  heading("launch on overlay until a command has run:");
  compare("Debian image", median(times["debian"]), "busybox", median(times["busy"]), 1.15);
}

/// The first instance of an image unpacks it, the second does not: the difference is the unpacking. What one run leaves to be written would slow the
/// next one down, so the disk is idle before each, and who begins changes. All is removed at the end: ext4 passes over inodes that were given back in
/// the last seconds, one by one, which makes whatever creates files after a removal up to ten times as slow.
void unpack(const Sizes &s, const std::string &image) {
  std::vector<double> ours, tar;
  auto by_us = [&](const std::string &dir) {
    auto h = open_host(dir, "overlay");
    import_as(h, image, "debian");
    auto create = [&](const char *name) {
      incus::InstanceCreate r;
      r.name = name;
      r.source.type = "image";
      r.source.alias = "debian";
      return milliseconds([&] { h.create_instance(r).wait(); });
    };
    run({"sync"});
    double first = create("a");
    ours.push_back(first - create("b"));
  };
  auto by_tar = [&](const std::string &dir) {
    std::filesystem::create_directories(dir);
    run({"sync"});
    tar.push_back(milliseconds([&] { run({"tar", "--numeric-owner", "--xattrs", "--xattrs-include=*", "-xpf", image, "-C", dir}); }));
  };
  for (int i = 0; i < 6; i++) {
    const std::string dir = s.work + "/unpack" + std::to_string(i);
    if (i % 2) by_tar(dir + "-tar");
    by_us(dir);
    if (i % 2 == 0) by_tar(dir + "-tar");
  }
  for (int i = 0; i < 6; i++) {
    const std::string dir = s.work + "/unpack" + std::to_string(i);
    run({"rm", "-rf", dir, dir + "-tar"});
  }
  heading("unpacking a Debian image:");
  compare("as part of the first create", median(ours), "tar", median(tar), 1.0);
}

/// Every process in this process's own pid namespace, with its proportional share of memory in KiB.
std::map<pid_t, double> own_processes() {
  std::map<pid_t, double> out;
  std::error_code e;
  auto mine = std::filesystem::read_symlink("/proc/self/ns/pid", e);
  for (auto &d : std::filesystem::directory_iterator("/proc")) {
    pid_t pid = static_cast<pid_t>(std::atoi(d.path().filename().c_str()));
    if (pid <= 0 || std::filesystem::read_symlink(d.path() / "ns/pid", e) != mine || e) continue;
    std::istringstream in(read_file(d.path() / "smaps_rollup"));
    for (std::string line; std::getline(in, line);)
      if (line.rfind("Pss:", 0) == 0) out[pid] = std::atof(line.c_str() + 4);
  }
  return out;
}

/// Run as a process of its own (bench --memory ...), so that nothing of the other measurements is in it.
int memory(const Sizes &s) {
  auto before = own_processes();
  auto h = open_host(s.work + "/memory", "overlay");
  import_as(h, s.busybox, "busy");
  auto c = h.launch("m1", "busy", with_nic());
  std::this_thread::sleep_for(1s); // helpers that are about to end, end
  double sum = 0;
  std::string parts;
  for (auto &[pid, kib] : own_processes()) {
    if (before.count(pid) && pid != ::getpid()) continue;
    sum += kib;
    std::string name = read_file("/proc/" + std::to_string(pid) + "/comm");
    while (!name.empty() && name.back() == '\n') name.pop_back();
    char text[128];
    std::snprintf(text, sizeof text, "%s%s %.1f", parts.empty() ? "" : ", ", name.c_str(), kib / 1024);
    parts += text;
  }
  heading("memory of an open host with one running container:");
  absolute("PSS of all our processes", sum / 1024, "MiB", 20);
  std::printf("  (%s)\n", parts.c_str());
  c.stop(true).wait();
  c.remove().wait();
  return 0;
}

/// Runs one group; a group that fails says so and the others go on.
bool group(const char *name, const std::function<void()> &work) {
  try {
    work();
    return true;
  } catch (const std::exception &e) {
    std::printf("%s: could not be measured: %s\n", name, e.what());
    std::fflush(stdout);
    return false;
  }
}

} // namespace

std::unique_ptr<Subject> make_ours(const Sizes &s) { return std::make_unique<Ours>(s); }

} // namespace bench

int main(int argc, char **argv) {
  using namespace bench;
  if (argc < 7) {
    std::fprintf(stderr, "usage: bench WORK BUSYBOX_IMAGE BUSYBOX_ROOTFS DEBIAN_IMAGE OFFICIAL_SOCKET RUNS [GROUP]\n");
    return 2;
  }
  Sizes s{argv[1], argv[2], argv[3]};
  std::string deb = argv[4], socket = argv[5], only = argc > 7 ? argv[7] : "";
  int runs = std::max(3, std::atoi(argv[6]));
  if (only == "--memory") return group("memory", [&] { memory(s); }) ? 0 : 1;
  bool ok = true;
  auto wanted = [&](const char *n) { return only.empty() || only == n; };
  if (wanted("references")) ok &= group("references", [&] { against_references(s, socket, runs); });
  if (wanted("memory")) ok &= group("memory", [&] { run({"/proc/self/exe", argv[1], argv[2], argv[3], argv[4], argv[5], argv[6], "--memory"}, false, false); });
  if (wanted("many")) ok &= group("many", [&] { many_instances(s, runs); });
  if (wanted("hundred")) ok &= group("hundred", [&] { hundred_on_overlay(s, deb.empty() ? s.busybox : deb); });
  if (!deb.empty() && wanted("debian")) ok &= group("debian", [&] { debian(s, deb, runs); });
  if (!deb.empty() && wanted("unpack")) ok &= group("unpack", [&] { unpack(s, deb); });
  return ok ? 0 : 1;
}
