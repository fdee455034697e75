// SPDX-License-Identifier: Apache-2.0
#include "instance/backup_streams.hpp"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <map>
#include <set>
#include <unistd.h>
#include <yaml-cpp/yaml.h>

#include "base/error.hpp"
#include "base/names.hpp"
#include "helper/unpack/common.hpp"
#include "image/helper.hpp"
#include "image/yaml.hpp"
#include "sys/fault.hpp"
#include "sys/fs.hpp"

namespace incus::instance {

namespace {

using storage::StreamPart;

constexpr std::size_t most_parts = 10'000;

[[noreturn]] void refuse(const std::string &why) { base::fail(ErrorCode::corrupt, "{}: {}", streams_header_name, why); }

std::string scalar(const YAML::Node &n, const char *key) {
  auto v = n[key];
  if (!v.IsDefined() || v.IsNull()) return "";
  if (!v.IsScalar()) refuse(fmt::format("{} must be a text", key));
  if (v.Scalar().size() > 4096 || v.Scalar().find('\0') != std::string::npos) refuse(fmt::format("{} is too long, or holds a NUL byte", key));
  return v.Scalar();
}

void check_path(const std::string &path) {
  auto bad = [&] { refuse(fmt::format("path {} must lead from the volume's top, without \".\", \"..\" or empty names", base::quoted(path))); };
  if (path.empty() || path[0] != '/') bad();
  if (path == "/") return;
  for (std::size_t at = 1; at <= path.size();) {
    auto end = std::min(path.find('/', at), path.size());
    auto name = path.substr(at, end - at);
    if (name.empty() || name == "." || name == ".." || name.size() > 255) bad();
    at = end + 1;
  }
}

std::string quote(const std::string &s) {
  std::string out = "\"";
  for (char c : s) {
    auto u = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\')
      (out += '\\') += c;
    else if (u < 0x20 || u == 0x7f)
      out += fmt::format("\\x{:02x}", u);
    else
      out += c;
  }
  return out + '"';
}

} // namespace

std::string format_streams(const std::vector<StreamPart> &parts) {
  std::string out = "subvolumes:\n";
  for (auto &p : parts) out += fmt::format("- path: {}\n  snapshot: {}\n  readonly: {}\n  uuid: {}\n", quote(p.path), quote(p.snapshot), p.read_only, quote(p.id));
  return out;
}

std::vector<StreamPart> plain_streams(const std::vector<std::string> &snapshots) {
  std::vector<StreamPart> out;
  for (auto &s : snapshots) out.push_back({s, "/", true, ""});
  out.push_back({"", "/", false, ""});
  return out;
}

std::vector<StreamPart> parse_streams(const std::string &yaml, const std::vector<std::string> &snapshots) {
  auto n = image::load_yaml(streams_header_name, yaml, 1 << 20, 100'000);
  if (!n.IsMap()) refuse("the document must be a map");
  auto list = n["subvolumes"];
  if (!list.IsDefined() || !list.IsSequence()) refuse("it has no list of subvolumes");
  if (list.size() > most_parts) refuse("it names more subvolumes than any volume has");
  std::vector<StreamPart> out;
  std::set<std::string> known(snapshots.begin(), snapshots.end());
  std::map<std::string, std::set<std::string>> seen; // paths by snapshot
  known.insert("");
  for (auto v : list) {
    if (!v.IsMap()) refuse("a subvolume must be a map");
    StreamPart p;
    p.path = scalar(v, "path");
    p.snapshot = scalar(v, "snapshot");
    p.id = scalar(v, "uuid");
    auto ro = scalar(v, "readonly");
    if (!ro.empty() && ro != "true" && ro != "false") refuse("readonly must be true or false");
    p.read_only = ro == "true";
    check_path(p.path);
    if (!known.count(p.snapshot)) refuse(fmt::format("snapshot {} is not one of those that the index names", base::quoted(p.snapshot)));
    auto &paths = seen[p.snapshot];
    // What lies in another comes after it.
    if (p.path != "/" && !paths.count("/")) refuse(fmt::format("path {} comes before what it lies in", base::quoted(p.path)));
    for (auto &other : paths)
      if (other.starts_with(p.path + "/")) refuse(fmt::format("path {} comes after what lies in it", base::quoted(p.path)));
    if (!paths.insert(p.path).second) refuse(fmt::format("path {} comes twice", base::quoted(p.path)));
    out.push_back(std::move(p));
  }
  for (auto &s : known)
    if (!seen.count(s)) refuse(s.empty() ? std::string("it does not name the volume itself") : fmt::format("it does not name snapshot {}", base::quoted(s)));
  return out;
}

std::vector<std::string> stream_files(const std::vector<StreamPart> &parts, bool custom) {
  std::vector<std::string> out;
  std::set<std::string> seen;
  for (auto &p : parts) {
    auto name = p.snapshot.empty() ? std::string(custom ? "backup/volume" : "backup/container") : std::string(custom ? "backup/volume-snapshots/" : "backup/snapshots/") + p.snapshot;
    if (p.path != "/") {
      name += '_';
      for (char c : p.path.substr(1)) {
        if (c == '-') name += '-';
        name += c == '/' ? '-' : c;
      }
    }
    name += ".bin";
    if (!seen.insert(name).second) base::fail(ErrorCode::corrupt, "two subvolumes would have the file {} in an optimised backup", base::quoted(name));
    out.push_back(std::move(name));
  }
  return out;
}

void add_streams(unpack::BackupPlan &plan, const storage::Replication::Outgoing &streams, bool custom) {
  std::vector<StreamPart> parts(streams.parts.begin(), streams.parts.end());
  auto files = stream_files(parts, custom);
  plan.header = format_streams(parts);
  for (std::size_t i = 0; i < files.size(); i++) {
    unpack::BackupPart p;
    p.prefix = files[i];
    p.kind = "stream";
    p.directory = streams.parts[i].directory;
    p.root = streams.parts[i].base;
    plan.parts.push_back(std::move(p));
  }
}

void pack_backup(const std::string &helper, const unpack::BackupPlan &plan, int out, const BackupProgress &progress) {
  auto file = sys::memory_file("plan", unpack::to_text(plan));
  std::vector<int> fds{out, file.get()};
  base::Fd spool;
  if (!plan.header.empty()) {
    // Beside the backup: what holds that may hold this. Its directory is reached by the link that the kernel keeps.
    std::string self = "/proc/self/fd/" + std::to_string(out), at(4096, '\0');
    ssize_t n = ::readlink(self.c_str(), at.data(), at.size());
    if (n <= 0) base::fail_errno(errno, "cannot find the directory of the backup");
    at.resize(static_cast<std::size_t>(n));
    auto dir = at.substr(0, at.rfind('/'));
    sys::FaultScope fault("make file for streams");
    spool = base::Fd(::open(dir.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    if (!spool) base::fail_errno(errno, fmt::format("cannot make a file in {}", base::quoted(dir)));
    fds.push_back(spool.get());
  }
  sys::FaultScope fault("pack backup");
  image::Job job(helper, static_cast<std::uint32_t>(unpack::Op::backup), {}, std::move(fds));
  job.finish(progress);
}

std::vector<StreamPart> streams_of(const BackupIndex &i, const std::string &header, const std::string &pool_driver) {
  if (i.backend != pool_driver)
    base::fail(ErrorCode::invalid_argument, "Optimized backup storage driver {} differs from the target storage pool driver {}: make the backup without --optimized-storage, or import it to a pool of its driver",
               base::quoted(i.backend), base::quoted(pool_driver));
  return i.optimized_header ? parse_streams(header, i.snapshots) : plain_streams(i.snapshots);
}

void receive_streams(const std::string &helper, int archive, const std::vector<std::string> &files, int dirfd, const BackupProgress &progress) {
  std::string text;
  for (auto &f : files) (text += f) += '\0';
  auto plan = sys::memory_file("streams", text);
  image::Job job(helper, static_cast<std::uint32_t>(unpack::Op::receive), {}, {archive, plan.get(), dirfd});
  job.finish(progress);
}

} // namespace incus::instance
