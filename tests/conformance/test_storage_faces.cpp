// SPDX-License-Identifier: Apache-2.0
// Custom volumes, backups, copies and recovery by the objects of the C++ face; what they do in detail is tested by the rows elsewhere.
#include "suite.hpp"

#include <fcntl.h>
#include <unistd.h>

using namespace suite;

namespace {

std::vector<std::string> names(const StorageVolume &v) {
  std::vector<std::string> out;
  for (auto &s : v.snapshots()) out.push_back(s.name);
  return out;
}
std::vector<std::string> names(const Instance &c) {
  std::vector<std::string> out;
  for (auto &s : c.snapshots()) out.push_back(s.name);
  return out;
}

struct File {
  int fd;
  explicit File(const std::string &path, int flags = O_RDONLY) : fd(::open(path.c_str(), flags | O_CLOEXEC, 0600)) { REQUIRE(fd >= 0); }
  File(const File &) = delete;
  File &operator=(const File &) = delete;
  ~File() { ::close(fd); }
};

/// The pool "default", which the first instance makes.
StoragePool first_pool(World &w) {
  w.make("first").remove().wait();
  return w.host.storage_pool("default");
}

std::string file(const std::string &name) {
  auto path = scratch() + "/" + name;
  std::filesystem::remove_all(path);
  return path;
}

} // namespace

TEST_CASE("storage faces: a custom volume and its snapshots") {
  World w;
  auto pool = first_pool(w);
  StorageVolumeCreate request;
  request.name = "v1";
  request.description = "data";
  request.config = {{"user.a", "1"}};
  auto v = pool.create_volume(request);
  REFUSED(already_exists, "", pool.create_volume(request));
  Etag etag;
  auto i = v.info(&etag);
  CHECK(i.description == "data");
  CHECK(i.type == "custom");
  CHECK(i.content_type == "filesystem");
  CHECK(i.used_by.empty());
  CHECK(v.state().usage.used >= 0);
  bool listed = false;
  for (auto &one : pool.volumes()) listed |= one.name == "v1" && one.type == "custom";
  CHECK(listed);
  v.update({{{"user.a", "2"}, {"user.b", "3"}}, "more"}, etag);
  REFUSED(precondition_failed, "", v.update({{}, "late"}, etag));
  v.patch({{"user.b", ""}, {"user.c", "4"}});
  CHECK(v.info().config.count("user.b") == 0);
  CHECK(v.info().config.at("user.c") == "4");

  v.create_snapshot().wait();
  StorageVolumeSnapshotCreate named;
  named.name = "s1";
  named.expires_at = Time(std::chrono::seconds(2208988800));
  v.create_snapshot(named).wait();
  CHECK(names(v) == std::vector<std::string>{"snap0", "s1"});
  auto s = v.snapshot("s1");
  CHECK(s.info().name == "s1");
  CHECK(s.info().expires_at == *named.expires_at);
  CHECK(s.info().config.at("user.c") == "4");
  s.set_expiry({});
  CHECK(s.info().expires_at == Time{});
  s.update({"before", {}});
  CHECK(s.info().description == "before");
  s.rename("s2").wait();
  CHECK(s.name() == "s2");
  CHECK(s.info().name == "s2");
  v.restore("s2");
  REFUSED(not_found, "", v.restore("none"));
  s.remove().wait();
  CHECK(names(v) == std::vector<std::string>{"snap0"});
  v.rename("v2");
  CHECK(v.name() == "v2");
  CHECK(v.info().name == "v2");
  v.remove();
  REFUSED(not_found, "", v.info());
  REFUSED(not_found, "", v.remove());
}

TEST_CASE("storage faces: volumes copied, refreshed and moved") {
  World w;
  auto pool = first_pool(w);
  w.host.create_storage_pool({"p2", "dir", "", {}});
  StorageVolumeCreate request;
  request.name = "v1";
  request.config = {{"user.a", "1"}};
  auto v = pool.create_volume(request);
  v.create_snapshot({"s0", "", {}}).wait();
  StorageVolumeCopy how;
  how.pool = "p2";
  auto done = v.copy("c1", how);
  done.wait();
  CHECK(done.done());
  auto c = w.host.storage_pool("p2").volume("c1");
  CHECK(c.info().config.at("user.a") == "1");
  CHECK(names(c) == std::vector<std::string>{"s0"});
  REFUSED(already_exists, "", v.copy("c1", how).wait());
  v.create_snapshot({"s1", "", {}}).wait();
  v.snapshot("s0").remove().wait();
  how.refresh = true;
  v.copy("c1", how).wait();
  CHECK(names(c) == std::vector<std::string>{"s1"});
  StorageVolumeCopy alone;
  alone.volume_only = true;
  v.copy("c2", alone).wait();
  CHECK(names(pool.volume("c2")).empty());
  StorageVolumeCopy then;
  then.snapshot = "s1";
  v.copy("c3", then).wait();
  CHECK(pool.volume("c3").info().config.at("user.a") == "1");
  auto m = pool.volume("c3");
  m.move({"c4", "", ""}).wait();
  CHECK(m.info().name == "c4");
  m.move({"", "p2", "default"}).wait();
  CHECK(m.pool() == "p2");
  CHECK(m.info().name == "c4");
  REFUSED(not_found, "", pool.volume("c4").info());
  how.pool = "none";
  REFUSED(not_found, "", v.copy("c5", how).wait());
  for (auto &one : {m, c, pool.volume("c2"), v}) StorageVolume(one).remove();
}

TEST_CASE("storage faces: instances copied, refreshed and moved") {
  World w;
  auto c1 = w.make("c1");
  w.host.create_storage_pool({"p2", "dir", "", {}});
  c1.create_snapshot({"s0"}).wait();
  InstanceCopy how;
  how.pool = "p2";
  how.config = {{"user.a", "1"}};
  c1.copy("c2", how).wait();
  auto c2 = w.host.instance("c2");
  CHECK(c2.info().config.at("user.a") == "1");
  CHECK(c2.info().expanded_devices.at("root").at("pool") == "p2");
  CHECK(names(c2) == std::vector<std::string>{"s0"});
  c1.create_snapshot({"s1"}).wait();
  c1.snapshot("s0").remove().wait();
  REFUSED(already_exists, "", c1.copy("c2", how).wait());
  InstanceCopy again;
  again.refresh = true;
  c1.copy("c2", again).wait();
  CHECK(names(c2) == std::vector<std::string>{"s1"});
  CHECK(c2.info().config.at("user.a") == "1");
  InstanceCopy then;
  then.snapshot = "s1";
  c1.copy("c3", then).wait();
  CHECK(names(w.host.instance("c3")).empty());
  InstanceMove to;
  to.name = "c4";
  to.pool = "default";
  c2.move(to).wait();
  CHECK(c2.name() == "c4");
  CHECK(c2.info().expanded_devices.at("root").at("pool") == "default");
  CHECK(names(c2) == std::vector<std::string>{"s1"});
  REFUSED(not_found, "", w.host.instance("c2").info());
}

TEST_CASE("storage faces: backups of instances") {
  World w;
  auto c = w.make("c1");
  c.write_file("/root/now", "here");
  c.create_snapshot({"s0"}).wait();
  c.create_backup().wait();
  CHECK(c.backups().at(0).name == "backup0");
  BackupCreate request;
  request.name = "b1";
  request.compression_algorithm = "none";
  request.instance_only = true;
  request.expires_at = Time(std::chrono::seconds(2208988800));
  c.create_backup(request).wait();
  auto b = c.backup("b1");
  CHECK(b.info().instance_only);
  CHECK(b.info().expires_at == *request.expires_at);
  REFUSED(already_exists, "", c.create_backup(request).wait());
  b.rename("b2").wait();
  CHECK(b.info().name == "b2");
  auto path = file("c1.backup");
  auto size = b.export_to(path);
  CHECK(size == static_cast<std::int64_t>(std::filesystem::file_size(path)));
  REFUSED(already_exists, "exists", b.export_to(path));
  w.host.import_instance(path, {"c2", ""}).wait();
  CHECK(w.host.instance("c2").read_file("/root/now") == "here");
  CHECK(names(w.host.instance("c2")).empty());
  REFUSED(already_exists, "", w.host.import_instance(path, {"c2", ""}).wait());
  REFUSED(not_found, "", w.host.import_instance(path, {"c3", "none"}).wait());
  REFUSED(not_found, "cannot open", w.host.import_instance(path + ".none"));
  {
    // Through descriptors, the other one with its snapshots.
    auto whole = file("c1.whole");
    File out(whole, O_WRONLY | O_CREAT | O_EXCL);
    auto written = c.backup("backup0").export_to(out.fd);
    CHECK(written == static_cast<std::int64_t>(std::filesystem::file_size(whole)));
    File in(whole);
    w.host.import_instance(in.fd, {"c3", ""}).wait();
    CHECK(names(w.host.instance("c3")) == std::vector<std::string>{"s0"});
  }
  b.remove().wait();
  REFUSED(not_found, "", b.info());
  REFUSED(not_found, "", b.export_to(file("gone")));
  CHECK(!std::filesystem::exists(scratch() + "/gone"));
  CHECK(c.backups().size() == 1);
}

TEST_CASE("storage faces: backups of volumes, and media") {
  World w;
  auto pool = first_pool(w);
  StorageVolumeCreate request;
  request.name = "v1";
  request.description = "data";
  auto v = pool.create_volume(request);
  v.create_snapshot({"s0", "", {}}).wait();
  BackupCreate how;
  how.name = "b1";
  v.create_backup(how).wait();
  CHECK(v.backups().at(0).name == "b1");
  CHECK(!v.backup("b1").info().volume_only);
  auto path = file("v1.backup");
  CHECK(v.backup("b1").export_to(path) > 0);
  pool.import_volume(path, "v2").wait();
  CHECK(pool.volume("v2").info().description == "data");
  CHECK(names(pool.volume("v2")) == std::vector<std::string>{"s0"});
  REFUSED(already_exists, "", pool.import_volume(path).wait());
  {
    File in(path);
    pool.import_volume(in.fd, "v3").wait();
    CHECK(names(pool.volume("v3")) == std::vector<std::string>{"s0"});
  }
  v.backup("b1").remove().wait();
  CHECK(v.backups().empty());
  {
    File out(file("medium"), O_WRONLY | O_CREAT | O_EXCL);
    REQUIRE(::ftruncate(out.fd, 1 << 20) == 0);
    File in(scratch() + "/medium");
    pool.import_iso(in.fd, "cd").wait();
    CHECK(pool.volume("cd").info().content_type == "iso");
  }
  for (auto *name : {"v1", "v2", "v3", "cd"}) pool.volume(name).remove();
}

TEST_CASE("storage faces: recovery of what a pool holds") {
  World w;
  first_pool(w);
  w.host.create_storage_pool({"p2", "dir", "", {}});
  StorageVolumeCreate request;
  request.name = "v1";
  auto v = w.host.storage_pool("p2").create_volume(request);
  v.create_snapshot({"s0", "", {}}).wait();
  auto first = pool_directory(w.host, "p2");
  std::filesystem::copy(first, first.parent_path() / "p3", std::filesystem::copy_options::recursive);
  CHECK(w.host.recover_validate().volumes.empty());
  std::vector<RecoverPool> pools{{"p3", "dir", "", {}}};
  auto report = w.host.recover_validate(pools);
  REQUIRE(report.volumes.size() == 1);
  CHECK(report.missing.empty());
  auto &found = report.volumes[0];
  CHECK(found.name == "v1");
  CHECK(found.pool == "p3");
  CHECK(found.type == "volume");
  CHECK(found.project == "default");
  CHECK(found.snapshot_count == 1);
  w.host.recover_import(pools);
  auto back = w.host.storage_pool("p3").volume("v1");
  CHECK(names(back) == std::vector<std::string>{"s0"});
  CHECK(w.host.recover_validate(pools).volumes.empty());
  back.remove();
  // The same with a source outside of the state directory.
  const std::string outside = scratch() + "/own-place";
  std::filesystem::copy(first, outside, std::filesystem::copy_options::recursive);
  std::vector<RecoverPool> moved{{"p4", "dir", "", {{"source", outside}}}};
  CHECK(w.host.recover_validate(moved).volumes.size() == 1);
  w.host.recover_import(moved);
  CHECK(w.host.storage_pool("p4").info().config.at("source") == outside);
  auto again = w.host.storage_pool("p4").volume("v1");
  CHECK(names(again) == std::vector<std::string>{"s0"});
  again.remove();
  v.remove();
  std::filesystem::create_directory(scratch() + "/bare");
  // The official daemon finds nothing there.
  if (!official()) REFUSED(invalid_argument, "holds no storage pool", w.host.recover_validate({{"p5", "dir", "", {{"source", scratch() + "/bare"}}}}));
}
