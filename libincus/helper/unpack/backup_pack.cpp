// SPDX-License-Identifier: Apache-2.0
#include <cerrno>
#include <fcntl.h>
#include <optional>
#include <sys/stat.h>
#include <unistd.h>

#include "helper/unpack/backup.hpp"
#include "helper/unpack/encoders.hpp"
#include "helper/unpack/pack.hpp"
#include "helper/unpack/packer.hpp"
#include "helper/unpack/sandbox.hpp"

namespace incus::unpack {

BackupPlan plan_from(const std::string &text) {
  std::vector<std::string> all;
  for (std::size_t at = 0; at < text.size();) {
    auto end = text.find('\0', at);
    if (end == text.npos) fail("internal", "a malformed request");
    all.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  if (all.size() < 4 || (all.size() - 4) % 7) fail("internal", "a malformed request");
  BackupPlan p{all[0], all[1], all[2], all[3], {}};
  std::size_t n = (all.size() - 4) / 7;
  for (std::size_t i = 0; i < n; i++) {
    auto *s = &all[4 + i * 7];
    p.parts.push_back({s[0], s[1], s[2], s[3], s[4], s[5], s[6]});
  }
  return p;
}

namespace {

std::vector<std::string> ranges(const std::string &ids) {
  std::vector<std::string> out;
  for (std::size_t at = 0; at < ids.size();) {
    auto end = std::min(ids.find(',', at), ids.size());
    out.push_back(ids.substr(at, end - at));
    at = end + 1;
  }
  return out;
}

struct Directory {
  int fd;
  explicit Directory(int at, const std::string &path) : fd(open_below(at, path)) {
    if (fd < 0) fail_errno(errno, "cannot open " + quoted(path));
  }
  ~Directory() { ::close(fd); }
  Directory(const Directory &) = delete;
};

bool is(int dir, const char *name, mode_t type) {
  struct stat st;
  return ::fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && (st.st_mode & S_IFMT) == type;
}

void pack_part(Packer &packer, int pool, int layers, int spool, std::size_t number, const BackupPart &part) {
  Directory volume(pool, part.directory);
  if (part.kind == "image") {
    packer.begin({});
    return packer.add(volume.fd, part.root, part.prefix);
  }
  if (part.kind == "stream") {
    if (spool < 0) fail("internal", "a malformed request");
    std::optional<Directory> base;
    if (!part.root.empty()) base.emplace(pool, part.root);
    spool_stream(volume.fd, base ? base->fd : -1, spool);
    return packer.add_file(spool, part.prefix, 0600);
  }
  if (part.kind == "tree") {
    packer.begin(IdShift(ranges(part.ids)));
    packer.add_tree(volume.fd, part.prefix);
    return;
  }
  // What the host reads stands beside the root, and is root's.
  packer.begin({});
  packer.add_directory(volume.fd, part.prefix);
  if (!part.yaml.empty()) packer.add_text(part.prefix + "/backup.yaml", part.yaml, 0400);
  if (is(volume.fd, "metadata.yaml", S_IFREG)) packer.add(volume.fd, "metadata.yaml", part.prefix + "/metadata.yaml");
  packer.begin(IdShift(ranges(part.ids)));
  if (part.kind == "overlay") {
    Directory root(layers, std::to_string(number));
    packer.add_tree(root.fd, part.prefix + "/rootfs");
  } else {
    Directory root(pool, part.root);
    packer.add_tree(root.fd, part.prefix + "/rootfs");
  }
  packer.begin({});
  if (is(volume.fd, "templates", S_IFDIR)) packer.add(volume.fd, "templates", part.prefix + "/templates");
}

} // namespace

void pack_backup(const BackupPlan &plan, int out, int spool, int sock, const std::function<void(std::uint64_t)> &written, unsigned threads) {
  std::vector<Layers> layers;
  for (auto &p : plan.parts) layers.push_back(p.kind == "overlay" ? Layers{p.root, p.upper} : Layers{});
  enter(plan.pool, layers);
  drop_privileges(spool < 0 ? Keep::read : Keep::send);
  die_with(sock);
  Directory pool(AT_FDCWD, "/pool"), merged(AT_FDCWD, "/layers");
  std::uint64_t total = 0;
  auto encode = encoder(plan.compression, [&](const void *data, std::size_t n) {
    write_all(out, data, n);
    total += n;
    written(total);
  }, threads);
  WriteBehind behind(*encode);
  Packer packer([&](const void *data, std::size_t n) { behind.write(data, n); }, {true, true});
  packer.add_directory(-1, "backup");
  packer.add_text(index_name, plan.index, 0644);
  if (!plan.header.empty()) packer.add_text(header_name, plan.header, 0644);
  for (std::size_t i = 0; i < plan.parts.size(); i++) pack_part(packer, pool.fd, merged.fd, spool, i, plan.parts[i]);
  packer.finish();
  behind.finish();
}

} // namespace incus::unpack
