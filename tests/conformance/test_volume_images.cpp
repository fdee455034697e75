// SPDX-License-Identifier: Apache-2.0
// Custom volumes that are not trees of files: disks and media.
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <unistd.h>

#include "suite.hpp"

using namespace suite;
namespace json = boost::json;
namespace fs = std::filesystem;

namespace {

const std::string volumes = "/1.0/storage-pools/default/volumes/custom", second = "/1.0/storage-pools/p2/volumes/custom";

std::string field(Host &h, const std::string &path, const char *key) { return text(ask(h, path).at("config").at(key)); }

void import_medium(Host &h, const std::string &pool, const std::string &name, const std::string &content) {
  auto path = scratch() + "/medium";
  std::ofstream(path) << content;
  int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  RawCall c;
  c.method = "POST";
  c.path = pool;
  c.headers = {{"Content-Type", "application/octet-stream"}, {"X-Incus-type", "iso"}, {"X-Incus-name", name}};
  c.streams = {{"body", fd}};
  try {
    auto answer = h.call(c);
    if (answer.operation) answer.operation->wait();
  } catch (...) {
    ::close(fd);
    throw;
  }
  ::close(fd);
}

/// The file that a volume is on a pool of directories; empty where there is none to look at.
fs::path file(Host &h, const std::string &pool, const std::string &volume, const char *name = "root.img") {
  return real() ? pool_directory(h, pool) / "custom" / ("default_" + volume) / name : fs::path();
}
void has(const fs::path &path, std::uint64_t size, const std::string &start) {
  if (path.empty()) return;
  REQUIRE(fs::exists(path));
  CHECK(fs::file_size(path) == size);
  std::string there(start.size(), '?');
  std::ifstream(path).read(there.data(), static_cast<std::streamsize>(start.size()));
  CHECK(there == start);
}
void write(const fs::path &path, const std::string &start) {
  if (path.empty()) return;
  std::fstream f(path, std::ios::in | std::ios::out);
  f << start;
}

constexpr std::uint64_t MiB = 1 << 20;

void whole(Host &h) {
  if (!official()) CHECK(json::parse(suite::check(h)).at("problems").as_array().empty());
}

} // namespace

TEST_CASE("volumes: disks") {
  World w;
  w.host.create_storage_pool({"p2", "dir", "", {}});
  w.host.request("POST", volumes, R"({"name":"v1","content_type":"block","config":{"size":"8MiB"}})");
  auto v = ask(w.host, volumes + "/v1");
  CHECK(text(v.at("content_type")) == "block");
  CHECK(text(v.at("config").at("size")) == "8MiB");
  has(file(w.host, "default", "v1"), 8 * MiB, "");
  write(file(w.host, "default", "v1"), "first");
  run(w.host, "POST", volumes + "/v1/snapshots", R"({"name":"s0"})");
  CHECK(text(ask(w.host, volumes + "/v1/snapshots/s0").at("content_type")) == "block");
  write(file(w.host, "default", "v1"), "later");

  // It grows, and stays as large when what it was comes back.
  w.host.request("PATCH", volumes + "/v1", R"({"config":{"size":"16MiB"}})");
  has(file(w.host, "default", "v1"), 16 * MiB, "later");
  REFUSED(invalid_argument, "Block volumes cannot be shrunk", w.host.request("PATCH", volumes + "/v1", R"({"config":{"size":"4MiB"}})"));
  CHECK(field(w.host, volumes + "/v1", "size") == "16MiB");
  run(w.host, "PUT", volumes + "/v1", R"({"restore":"s0"})");
  CHECK(field(w.host, volumes + "/v1", "size") == "16MiB");
  has(file(w.host, "default", "v1"), official() ? 8 * MiB : 16 * MiB, "first");

  // Copies and moves are disks, too.
  run(w.host, "POST", volumes, R"({"name":"v2","source":{"type":"copy","name":"v1","pool":"default"}})");
  CHECK(text(ask(w.host, volumes + "/v2").at("content_type")) == "block");
  CHECK(ask(w.host, volumes + "/v2/snapshots").as_array().size() == 1);
  run(w.host, "POST", second, R"({"name":"v3","source":{"type":"copy","name":"v1/s0","pool":"default"}})");
  CHECK(field(w.host, second + "/v3", "size") == "8MiB");
  has(file(w.host, "p2", "v3"), 8 * MiB, "first");
  run(w.host, "POST", volumes + "/v2", R"({"name":"v4","pool":"p2"})");
  CHECK(text(ask(w.host, second + "/v4").at("content_type")) == "block");
  write(file(w.host, "default", "v1"), "third");
  run(w.host, "POST", second, R"({"name":"v4","source":{"type":"copy","name":"v1","pool":"default","refresh":true}})");
  has(file(w.host, "p2", "v4"), official() ? 8 * MiB : 16 * MiB, "third");
  if (!official()) { // which leaves it larger than its size says
    REFUSED(invalid_argument, "make it larger first",
            run(w.host, "POST", second, R"({"name":"v3","source":{"type":"copy","name":"v1","pool":"default","refresh":true}})"));
    has(file(w.host, "p2", "v3"), 8 * MiB, "first");
  }

  whole(w.host);
  for (auto &one : {volumes + "/v1", second + "/v3", second + "/v4"}) w.host.request("DELETE", one);
  w.host.storage_pool("p2").remove();
}

TEST_CASE("volumes: what disks and media cannot be") {
  World w;
  auto refused = [&](const std::string &body, const char *words) { REFUSED(invalid_argument, words, w.host.request("POST", volumes, body)); };
  for (auto *key : {"block.filesystem", "block.mount_options", "initial.uid", "security.shifted"})
    refused(R"({"name":"bad","content_type":"block","config":{")" + std::string(key) + R"(":"1"}})", key);
  refused(R"({"name":"bad","content_type":"block","config":{"size":"much"}})", "size");
  w.host.request("POST", volumes, R"({"name":"disk","content_type":"block","config":{"size":"1MiB"}})");
  w.host.request("POST", volumes, R"({"name":"files"})");
  import_medium(w.host, volumes, "medium", "CD001 and so on");
  auto v = ask(w.host, volumes + "/medium");
  CHECK(text(v.at("content_type")) == "iso");
  CHECK(text(v.at("config").at("size")) == "15");
  has(file(w.host, "default", "medium", "root.iso"), 15, "CD001 and so on");
  REFUSED(already_exists, "already exists", import_medium(w.host, volumes, "medium", "x"));
  REFUSED(invalid_argument, "", import_medium(w.host, volumes, "", "x"));
  REFUSED(not_found, "", import_medium(w.host, "/1.0/storage-pools/none/volumes/custom", "other", "x"));
  auto c = w.make("c1");
  for (auto *one : {"disk", "medium"})
    REFUSED(not_supported, "cannot be used on containers", c.patch({}, {{"d", {{"type", "disk"}, {"path", "/d"}, {"pool", "default"}, {"source", one}}}}));
  REFUSED(not_supported, "iso", run(w.host, "POST", volumes + "/medium/snapshots", R"({"name":"s0"})"));
  REFUSED(invalid_argument, "", w.host.request("PATCH", volumes + "/medium", R"({"config":{"size":"1MiB"}})"));
  w.host.request("PATCH", volumes + "/medium", R"({"description":"of the system"})");
  CHECK(text(ask(w.host, volumes + "/medium").at("description")) == "of the system");
  run(w.host, "POST", volumes, R"({"name":"copy","source":{"type":"copy","name":"medium","pool":"default"}})");
  CHECK(text(ask(w.host, volumes + "/copy").at("content_type")) == "iso");
  has(file(w.host, "default", "copy", "root.iso"), 15, "CD001 and so on");
  REFUSED(not_supported, "", run(w.host, "POST", volumes, R"({"name":"copy","source":{"type":"copy","name":"medium","pool":"default","refresh":true}})"));
  REFUSED(not_supported, "", run(w.host, "POST", volumes, R"({"name":"files","source":{"type":"copy","name":"disk","pool":"default","refresh":true}})"));
  whole(w.host);
  for (auto *one : {"/disk", "/files", "/medium", "/copy"}) w.host.request("DELETE", volumes + one);
}
