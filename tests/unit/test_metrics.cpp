// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include <unistd.h>

#include <incus/host.hpp>

#include "base/error.hpp"
#include "embed/metrics.hpp"

using namespace incus;
using namespace incus::embed;

TEST_CASE("metrics: texts of control groups") {
  auto devices = sys::block_devices("major minor  #blocks  name\n\n   7        0      100 loop0\n 259        0  1000 nvme0n1\n   8        1  500 sda1\n");
  CHECK(devices.at("259:0") == "nvme0n1");
  CHECK(devices.size() == 3);
  auto one = sys::parse_cpus_v1("cpu user system\n0 10 20\n11 30 40\n");
  CHECK(one.size() == 2);
  CHECK(one.at(11).user == 30);
  CHECK(one.at(0).system == 20);
  auto two = sys::parse_cpus_v2("usage_usec 30\nuser_usec 10\nsystem_usec 20\nnr_periods 0\n");
  CHECK(two.at(0).user == 10000);
  CHECK(two.at(0).system == 20000);
  auto m1 = sys::parse_memory("cache 1\ntotal_cache 4096\ntotal_rss 8192\ntotal_active_anon 1\ntotal_active_file 2\n", false);
  CHECK(m1.at("file") == 4096);
  CHECK(m1.at("anon") == 8192);
  CHECK(m1.at("active") == 3);
  auto m2 = sys::parse_memory("anon 7\nfile 9\nfile_dirty 5\ninactive_anon 2\ninactive_file 4\n", true);
  CHECK(m2.at("anon") == 7);
  CHECK(m2.at("inactive") == 6);
  CHECK(m2.at("file_dirty") == 5);
  CHECK(sys::parse_memory("", true).empty());
  CHECK(sys::count_cpus("0-3,8,10-11\n") == 7);
  CHECK(sys::count_cpus("\n") == 0);
  std::map<std::string, sys::Usage::Disk> disks;
  sys::parse_disks_v1("259:0 Read 100\n259:0 Write 200\n7:0 Read 5\n99:9 Read 5\nTotal 300\n", "259:0 Read 1\n259:0 Write 2\n", devices, disks);
  CHECK(disks.size() == 1);
  CHECK(disks.at("nvme0n1").written_bytes == 200);
  CHECK(disks.at("nvme0n1").writes == 2);
  disks.clear();
  sys::parse_disks_v2("8:1 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0\n99:9 259:0 rbytes=9 wios=1\n(unknown) rbytes=7\n", devices, disks);
  CHECK(disks.size() == 2);
  CHECK(disks.at("sda1").reads == 3);
  CHECK(disks.at("nvme0n1").read_bytes == 9);
}

TEST_CASE("metrics: the text") {
  Samples s;
  InstanceState state;
  state.memory.total = 1000;
  state.memory.usage = 400;
  state.processes = 3;
  state.network["eth0"].counters.bytes_received = 77;
  sys::Usage u;
  u.cpus[0] = {1'500'000'000, 4'000'000};
  u.effective_cpus = 2;
  u.memory["file"] = 50;
  HostFilesystem f{"/dev/sda1", "ext4", "/data", 100, 60, 50};
  instance_samples({{"name", "c\"1\\"}, {"project", "default"}, {"type", "container"}}, state, u, {f}, s);
  Samples own{{Family::uptime, {}, 1.25}};
  auto text = metrics_text({&s, &own});
  auto has = [&](const char *line) {
    INFO(text);
    CHECK(text.find(std::string(line) + "\n") != std::string::npos);
  };
  has("# TYPE incus_cpu_seconds_total counter");
  has(R"(incus_cpu_seconds_total{cpu="0",mode="user",name="c\"1\\",project="default",type="container"} 1.5)");
  has(R"(incus_cpu_seconds_total{cpu="0",mode="system",name="c\"1\\",project="default",type="container"} 0.004)");
  has(R"(incus_cpu_effective_total{name="c\"1\\",project="default",type="container"} 2)");
  has(R"(incus_filesystem_free_bytes{device="/dev/sda1",fstype="ext4",mountpoint="/data",name="c\"1\\",project="default",type="container"} 60)");
  has(R"(incus_memory_MemAvailable_bytes{name="c\"1\\",project="default",type="container"} 650)");
  has(R"(incus_memory_MemFree_bytes{name="c\"1\\",project="default",type="container"} 600)");
  has(R"(incus_network_receive_bytes_total{device="eth0",name="c\"1\\",project="default",type="container"} 77)");
  has(R"(incus_procs_total{name="c\"1\\",project="default",type="container"} 3)");
  has("incus_uptime_seconds 1.25");
  CHECK(text.ends_with("\n# EOF\n"));
  // A family is described once, before its samples; one without samples is not there.
  CHECK(text.find("# TYPE incus_cpu_seconds_total") == text.rfind("# TYPE incus_cpu_seconds_total"));
  CHECK(text.find("incus_disk") == std::string::npos);
}

TEST_CASE("metrics: file systems of the host") {
  std::string mounts = "1 0 8:1 / / rw - ext4 /dev/root rw\n2 1 8:2 / /srv/my\\040data rw shared:1 - xfs /dev/sdb rw\n";
  auto f = host_filesystem("/srv/my data", "/x", mounts);
  CHECK(f.device == "/dev/sdb");
  CHECK(f.type == "xfs");
  f = host_filesystem("/srv/my data/below", "/x", mounts);
  CHECK(f.device == "/srv/my data/below");
  CHECK(f.type == "xfs");
  f = host_filesystem("/", "/x", mounts);
  CHECK(f.device == "/dev/root");
  CHECK(f.size > 0);
}

TEST_CASE("metrics: of a host") {
  auto h = Host::open("test://");
  auto read = [&](const std::string &path) {
    auto r = h.call({"GET", path, {}, {}, {}, {}});
    REQUIRE(r.bodies.size() == 1);
    CHECK(r.bodies[0].content_type == "text/plain");
    std::string text(static_cast<std::size_t>(r.bodies[0].size), '\0');
    CHECK(::pread(r.bodies[0].fd, text.data(), text.size(), 0) == r.bodies[0].size);
    ::close(r.bodies[0].fd);
    return text;
  };
  auto text = read("/1.0/metrics");
  CHECK(text.find("# TYPE incus_operations_total counter\nincus_operations_total 0\n") != std::string::npos);
  CHECK(text.find("incus_warnings_total 0\n") != std::string::npos);
  CHECK(text.ends_with("# EOF\n"));
  CHECK_THROWS_AS(h.call({"GET", "/1.0/metrics?project=missing", {}, {}, {}, {}}), Error);
}
