// SPDX-License-Identifier: Apache-2.0
// Backups out of a server and into one: of instances, and of custom volumes.
#include "export.hpp"

#include <atomic>
#include <fcntl.h>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>

#include "object.hpp"

namespace cli {

namespace {

/// A day: longer than any download, and gone by itself when this command is killed.
constexpr const char *lifetime = "24H";

struct File {
  explicit File(int f) : fd(f) {}
  ~File() {
    if (fd >= 0) close(fd);
  }
  File(const File &) = delete;
  int fd;
};

/// Makes a backup on the server, fetches it, and removes it there.
int fetch(Context &c, Server &s, const std::string &of, json::object body, const std::string &path, const char *making) {
  bool to_stdout = path == "-";
  if (!to_stdout && access(path.c_str(), F_OK) == 0) fail("Target path \"{}\" already exists", path);
  body["name"] = "";
  body["expires_at"] = expiry_from_now(lifetime);
  body["optimized_storage"] = c.flag("optimized-storage");
  if (auto a = c.text("compression"); !a.empty()) body["compression_algorithm"] = a;
  auto op = s.start("POST", of + "/backups", body);
  if (!op) fail("The server started no backup");
  auto name = resource_name(wait_for(c, *op, making), "backups");
  if (name.empty()) fail("The server names no backup");
  auto backup = of + "/backups/" + escape(name);
  auto away = [&] { s.finish("DELETE", backup); };
  // Beside its place, so that a file of that name is always a whole one.
  auto partial = path + ".part";
  try {
    incus::RawCall call;
    call.method = "GET";
    call.path = backup + "/export";
    auto reply = s.call(std::move(call));
    if (reply.bodies.empty()) fail("The server sent no backup");
    auto &from = reply.bodies[0];
    File in(from.fd), out(to_stdout ? dup(1) : open(partial.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    if (out.fd < 0) fail("open {}: {}", partial, strerror(errno));
    std::optional<Progress> progress;
    if (!to_stdout) progress.emplace(c, "Exporting the backup: {}");
    copy_stream(in.fd, out.fd, progress ? &*progress : nullptr, from.size);
    if (fsync(out.fd) != 0 && errno != EINVAL && errno != EROFS) fail("Failed to write {}: {}", path, strerror(errno));
    if (!to_stdout && rename(partial.c_str(), path.c_str()) != 0) fail("Failed to rename export file: {}", strerror(errno));
    if (progress) progress->done("Backup exported successfully!");
  } catch (...) {
    if (!to_stdout) unlink(partial.c_str());
    try {
      away();
    } catch (...) { // it expires
    }
    throw;
  }
  away();
  return 0;
}

/// Sends a file; how far it was read is seen in the offset of its descriptor.
void send(Context &c, Server &s, const std::string &to, const std::string &file, std::map<std::string, std::string> headers, const char *format) {
  File in(file == "-" ? dup(0) : open(file.c_str(), O_RDONLY | O_CLOEXEC));
  if (in.fd < 0) fail("open {}: {}", file, strerror(errno));
  struct stat st {};
  fstat(in.fd, &st);
  incus::RawCall call;
  call.method = "POST";
  call.path = to;
  call.headers = std::move(headers);
  call.headers["Content-Type"] = "application/octet-stream";
  call.streams = {{"body", in.fd}};
  Progress progress(c, format);
  std::atomic<bool> over{false};
  std::thread watch;
  if (S_ISREG(st.st_mode) && is_terminal(1) && !c.quiet())
    watch = std::thread([&] {
      while (!over) {
        auto moved = std::max<off_t>(0, lseek(in.fd, 0, SEEK_CUR));
        if (moved > 0 && moved < st.st_size) progress.bytes(moved, st.st_size);
        usleep(100000);
      }
    });
  auto end = [&] {
    over = true;
    if (watch.joinable()) watch.join();
    progress.done();
  };
  std::optional<incus::Operation> op;
  try {
    op = std::move(s.call(std::move(call)).operation);
  } catch (...) {
    end();
    throw;
  }
  end();
  if (op) wait_for(c, *op, format); // else it is done: the way of rows that answer at once
}

int export_instance(Context &c) {
  auto t = c.target(c.args[0]);
  if (t.name.empty()) fail("Instance name is mandatory");
  auto path = c.args.size() > 1 ? c.args[1] : t.name + ".backup";
  return fetch(c, *t.server, url({"instances", t.name}), {{"instance_only", c.flag("instance-only")}}, path, "Backing up instance: {}");
}

int import_instance(Context &c) {
  auto args = c.args;
  std::string remote = c.settings.default_remote;
  if (args[0].size() > 1 && args[0].back() == ':') {
    remote = c.split(args[0]).first;
    args.erase(args.begin());
  }
  if (args.empty() || args.size() > 2) c.bad_arguments();
  std::map<std::string, std::string> headers;
  if (args.size() == 2) headers["X-Incus-name"] = args[1];
  if (auto pool = c.text("storage"); !pool.empty()) headers["X-Incus-pool"] = pool;
  send(c, c.server(remote), url({"instances"}), args[0], std::move(headers), "Importing instance: {}");
  return 0;
}

} // namespace

int volume_export(Context &c) {
  auto t = c.target(c.args[0]);
  if (t.name.empty()) fail("Missing pool name");
  auto volume = c.args[1];
  if (auto cut = volume.find('/'); cut != volume.npos) {
    if (volume.substr(0, cut) != "custom") fail("Only \"custom\" volumes can be exported");
    volume = volume.substr(cut + 1);
  }
  auto path = c.args.size() > 2 ? c.args[2] : volume + ".backup";
  return fetch(c, *t.server, url({"storage-pools", t.name, "volumes", "custom", volume}), {{"volume_only", c.flag("volume-only")}}, path, "Backing up storage volume: {}");
}

int volume_import(Context &c) {
  auto t = c.target(c.args[0]);
  if (t.name.empty()) fail("Missing pool name");
  auto type = c.text("type");
  if (!type.empty() && type != "backup" && type != "iso") fail("Import type needs to be \"backup\" or \"iso\"");
  std::map<std::string, std::string> headers;
  if (c.args.size() > 2) headers["X-Incus-name"] = c.args[2];
  bool iso = type == "iso" || (type.empty() && c.args[1].ends_with(".iso"));
  if (iso && c.args.size() < 3) fail("Importing ISO images requires a volume name to be set");
  if (iso) headers["X-Incus-type"] = "iso";
  send(c, *t.server, url({"storage-pools", t.name, "volumes", "custom"}), c.args[1], std::move(headers), "Importing custom volume: {}");
  return 0;
}

Command export_command() {
  Command c;
  c.names = "export";
  c.usage = "[<remote>:]<instance> [target] [--instance-only] [--optimized-storage]";
  c.brief = "Export instance backups";
  c.least = 1;
  c.most = 2;
  c.run = export_instance;
  c.flags = {{Flag::toggle, "instance-only", 0, "", "Whether or not to only backup the instance (without snapshots)"},
             {Flag::toggle, "optimized-storage", 0, "", "Use storage driver optimized format (can only be restored on a similar pool)"},
             {Flag::text, "compression", 0, "", "Compression algorithm to use (none for uncompressed)"}};
  c.details = "The target is a file that must not be there yet, or - for standard output; without one it is <instance>.backup.";
  c.examples = "incus export u1 backup0.tar.gz";
  return c;
}

Command import_command() {
  Command c;
  c.names = "import";
  c.usage = "[<remote>:] <backup file> [<instance name>]";
  c.brief = "Import instance backups";
  c.details = "Backups of instances, with their snapshots. The file - is standard input.";
  c.least = 1;
  c.most = 3;
  c.run = import_instance;
  c.flags = {{Flag::text, "storage", 's', "", "Storage pool name"}};
  c.examples = "incus import backup0.tar.gz";
  return c;
}

} // namespace cli
