// SPDX-License-Identifier: Apache-2.0
// import, export and copy of images.
#include <fcntl.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

#include "create.hpp"
#include "image.hpp"
#include "object.hpp"

extern char **environ;

namespace cli {

namespace {

bool exists(const std::string &path) { return access(path.c_str(), F_OK) == 0; }
bool is_directory(const std::string &path) {
  struct stat s {};
  return stat(path.c_str(), &s) == 0 && S_ISDIR(s.st_mode);
}
std::int64_t size_of(int fd) {
  struct stat s {};
  return fstat(fd, &s) == 0 ? s.st_size : -1;
}
std::string base_name(const std::string &path) { return path.substr(path.rfind('/') + 1); }

/// The name of an exported file: what the server says if it is one for this image (with an ending that tells its format), else ours. A server must not
/// choose what is overwritten here.
std::string export_name(const std::string &fingerprint, const std::string &said, bool second) {
  auto rest = said.rfind("meta-", 0) == 0 ? said.substr(5) : said;
  bool ours = rest.rfind(fingerprint, 0) == 0 && (rest.size() == fingerprint.size() || rest[fingerprint.size()] == '.') &&
              rest.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789.", fingerprint.size()) == rest.npos;
  return ours ? said : fingerprint + (second ? ".root" : "");
}

struct File {
  explicit File(const std::string &path) : fd(open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    if (fd < 0) fail("open {}: {}", path, strerror(errno));
  }
  ~File() {
    if (fd >= 0) close(fd);
  }
  File(const File &) = delete;
  int fd;
};

/// How far the library has read a file is seen in the offset, which duplicates share.
class Watch {
public:
  Watch(Context &c, std::string format, std::vector<int> files) : progress_(c, std::move(format)), files_(std::move(files)) {
    for (int f : files_) total_ += std::max<std::int64_t>(0, size_of(f));
    if (is_terminal(1) && !c.quiet())
      thread_ = std::thread([this] {
        while (!over_) {
          std::int64_t moved = 0;
          for (int f : files_) moved += std::max<off_t>(0, lseek(f, 0, SEEK_CUR));
          if (moved < total_) progress_.bytes(moved, total_);
          usleep(100000);
        }
      });
  }
  ~Watch() { done({}); }
  void done(const std::string &text) {
    over_ = true;
    if (thread_.joinable()) thread_.join();
    progress_.done(text);
  }

private:
  Progress progress_;
  std::vector<int> files_;
  std::int64_t total_ = 0;
  std::atomic<bool> over_{false};
  std::thread thread_;
};

/// A directory with metadata.yaml and rootfs/, packed for the way to the server.
std::string packed(const std::string &directory) {
  if (geteuid() != 0) fail("Must run as root to import from directory");
  char name[] = "/tmp/incus_image_XXXXXX";
  int fd = mkostemp(name, O_CLOEXEC);
  if (fd < 0) fail("No temporary file: {}", strerror(errno));
  close(fd);
  Strings words{"tar",      "-C",   directory, "--numeric-owner", "--restrict", "--force-local",
                "--xattrs", "-caf", name,      "rootfs",          "templates",  "metadata.yaml"};
  if (!exists(directory + "/templates")) words.erase(std::find(words.begin(), words.end(), "templates"));
  std::vector<char *> argv;
  for (auto &w : words) argv.push_back(w.data());
  argv.push_back(nullptr);
  pid_t pid = 0;
  int status = 0;
  bool ran = posix_spawnp(&pid, "tar", nullptr, nullptr, argv.data(), environ) == 0;
  while (ran && waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (!ran || status != 0) {
    unlink(name);
    fail("Failed to pack {} with tar", directory);
  }
  return name;
}

struct Removed {
  std::string path;
  ~Removed() {
    if (!path.empty()) unlink(path.c_str());
  }
};

} // namespace

int image_import(Context &c) {
  std::string remote = c.settings.default_remote, meta, rootfs;
  json::object properties;
  for (auto &a : c.args) {
    if (a.find('=') != std::string::npos && !exists(a) && a.rfind("https://", 0) != 0) {
      auto [k, v] = key_value(a, "Bad property");
      properties[k] = v;
    } else if (!a.empty() && a.back() == ':' && !exists(a)) {
      remote = c.split(a).first;
    } else {
      (meta.empty() ? meta : rootfs) = a;
    }
  }
  if (meta.empty()) meta = c.args[0];
  if (meta.rfind("http://", 0) == 0) fail("Only https:// is supported for remote image import");
  auto &server = c.server(remote);
  std::string fingerprint;
  Removed temporary;
  auto finish = [&](std::optional<incus::Operation> op) {
    if (!op) fail("The server started no import");
    fingerprint = str(metadata_of(wait_for(c, *op, "Transferring image: {}")), "fingerprint");
  };
  if (meta.rfind("https://", 0) == 0) {
    json::object body{{"source", {{"type", "url"}, {"mode", "pull"}, {"protocol", "direct"}, {"url", meta}}}, {"public", c.flag("public")}};
    if (!properties.empty()) body["properties"] = properties;
    finish(server.start("POST", url({"images"}), body));
  } else {
    if (is_directory(meta)) meta = temporary.path = packed(meta);
    File first(meta);
    std::optional<File> second;
    if (!rootfs.empty()) second.emplace(rootfs);
    incus::RawCall call;
    call.method = "POST";
    call.path = url({"images"});
    call.headers["X-Incus-public"] = c.flag("public") ? "true" : "false";
    call.headers["X-Incus-filename"] = base_name(meta);
    if (!properties.empty()) {
      std::string encoded;
      for (auto &p : properties) encoded += (encoded.empty() ? "" : "&") + escape(p.key()) + "=" + escape(p.value().as_string());
      call.headers["X-Incus-properties"] = encoded;
    }
    if (second)
      call.streams = {{"metadata", first.fd}, {"rootfs", second->fd}};
    else
      call.streams = {{"image", first.fd}};
    Watch watch(c, "Transferring image: {}", second ? std::vector<int>{first.fd, second->fd} : std::vector<int>{first.fd});
    auto reply = server.call(std::move(call));
    watch.done({});
    finish(std::move(reply.operation));
  }
  if (!c.quiet()) say("\rImage imported with fingerprint: {}\n", fingerprint);
  auto aliases = c.list("alias");
  if (c.flag("reuse")) delete_images_of(server, aliases, fingerprint);
  if (!aliases.empty()) ensure_aliases(server, aliases, fingerprint);
  return 0;
}

int image_export(Context &c) {
  auto t = c.target(c.args[0]);
  auto fingerprint = image_fingerprint(*t.server, t.name);
  auto target = c.args.size() > 1 ? c.args[1] : ".";
  if (fingerprint.size() != 64 || fingerprint.find_first_not_of("0123456789abcdef") != fingerprint.npos)
    fail("The server names a fingerprint that is none: \"{}\"", fingerprint);
  incus::RawCall call;
  call.method = "GET";
  call.path = url({"images", fingerprint, "export"});
  auto reply = t.server->call(std::move(call));
  if (reply.bodies.empty()) fail("The server sent no image");
  bool split = reply.bodies.size() > 1;
  Progress progress(c, "Exporting the image: {}");
  for (std::size_t i = 0; i < reply.bodies.size(); i++) {
    auto &b = reply.bodies[i];
    auto name = export_name(fingerprint, b.name, i > 0);
    std::string path;
    if (is_directory(target)) {
      path = target + "/" + name;
    } else if (split) {
      path = i ? target + ".root" : target;
    } else {
      auto dot = name.find('.');
      path = dot == std::string::npos ? target : target + name.substr(dot);
    }
    if (path.rfind("./", 0) == 0) path.erase(0, 2);
    int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0) fail("open {}: {}", path, strerror(errno));
    try {
      copy_stream(b.fd, fd, &progress, b.size);
    } catch (...) {
      unlink(path.c_str());
      close(fd);
      throw;
    }
    close(b.fd);
    if (close(fd) != 0) fail("Failed to write {}: {}", path, strerror(errno));
  }
  progress.done("Image exported successfully!");
  return 0;
}

} // namespace cli
