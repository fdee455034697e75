// SPDX-License-Identifier: Apache-2.0
// incus-unpack: reads, unpacks and packs images away from the engine's process. Descriptor 0 is the socket to the engine (helper/protocol.hpp);
// 1 is a pipe whose end tells the engine that this process and its children are gone. One request, then the end.
#include <algorithm>
#include <clocale>
#include <cstdio>
#include <exception>
#include <fcntl.h>
#include <new>
#include <sched.h>
#include <sys/stat.h>
#include <thread>

#include "helper/protocol.hpp"
#include "helper/unpack/backup.hpp"
#include "helper/unpack/common.hpp"
#include "helper/unpack/extract.hpp"
#include "helper/unpack/pack.hpp"
#include "helper/unpack/sandbox.hpp"
#include "helper/unpack/scan.hpp"
#include "helper/unpack/squash.hpp"
#include "helper/unpack/stream.hpp"

using namespace incus;
using namespace incus::unpack;

namespace {

constexpr int sock = 0;

void reply(Op op, std::vector<std::string> args) {
  helper::Message m;
  m.op = static_cast<std::uint32_t>(op);
  m.args = std::move(args);
  if (helper::send_message(sock, m)) ::_exit(1); // nobody listens any more
}

unsigned processors() {
  cpu_set_t set;
  if (::sched_getaffinity(0, sizeof set, &set) < 0) return 1;
  return static_cast<unsigned>(std::clamp(CPU_COUNT(&set), 1, 4));
}

/// Tells how far reading of the files is, every few megabytes.
class Progress {
public:
  void expect(std::uint64_t bytes) { total_ += bytes; }
  void at(std::uint64_t done) {
    if (done < said_ + progress_step) return;
    said_ = done;
    reply(Op::progress, {std::to_string(done), std::to_string(total_)});
  }

private:
  std::uint64_t total_ = 0, said_ = 0;
};

std::string head_of(int fd) {
  std::string head(8, '\0');
  ssize_t n = ::pread(fd, head.data(), head.size(), 0);
  head.resize(n < 0 ? 0 : static_cast<std::size_t>(n));
  return head;
}

Compression compression_of(int fd) {
  std::string h = head_of(fd);
  if (h.empty()) refuse("the image file is empty");
  return detect(reinterpret_cast<const unsigned char *>(h.data()), h.size());
}

std::uint64_t size_of(int fd) { return FileStream(fd).size(); }

/// Runs `use` over the decompressed blocks of a file, which are read ahead in another thread.
template <class F> void with_blocks(int fd, Progress &progress, std::uint64_t before, F use) {
  FileStream file(fd);
  auto plain = decoder(compression_of(fd), file, processors());
  ReadAhead blocks(*plain);
  use(blocks, [&] { progress.at(before + file.done()); });
}

void do_inspect(const std::vector<int> &fds) {
  int image = fds[0], rootfs = fds.size() > 1 ? fds[1] : -1;
  enter(-1, true);
  drop_privileges(Keep::nothing);
  die_with(sock);
  Progress progress;
  progress.expect(size_of(image));
  if (rootfs >= 0) progress.expect(size_of(rootfs));
  Report found;
  with_blocks(image, progress, 0,
              [&](Blocks &b, auto step) { found = scan(b, rootfs < 0 ? Shape::unified : Shape::metadata, Limits(), step); });
  bool squashfs = false, machine = found.rootfs_image;
  if (rootfs >= 0) {
    std::string head = head_of(rootfs);
    if (head.starts_with("hsqs")) {
      check_squashfs(rootfs);
      squashfs = true;
    } else if (head.starts_with("QFI\xfb")) {
      machine = true;
    } else {
      with_blocks(rootfs, progress, size_of(image), [&](Blocks &b, auto step) { scan(b, Shape::rootfs, Limits(), step); });
    }
  }
  for (std::size_t at = 0; at < found.metadata.size(); at += 64 * 1024) reply(Op::data, {found.metadata.substr(at, 64 * 1024)});
  reply(Op::done, {machine ? "virtual-machine" : "container", name_of(compression_of(image)), squashfs ? "squashfs" : ""});
}

void do_unpack(std::vector<int> fds, bool squashfs) {
  int target = fds[0], image = fds[1], rootfs = fds.size() > 2 ? fds[2] : -1;
  Progress progress;
  progress.expect(size_of(image));
  if (rootfs >= 0) {
    progress.expect(size_of(rootfs));
    if (head_of(rootfs).starts_with("QFI\xfb")) fail("not_supported", "the image is one of a virtual machine, which cannot be unpacked yet");
    if (squashfs) check_squashfs(rootfs);
  }
  enter(target, false, squashfs);
  ::close(target);
  // First what needs privileges that hostile archives are not to see; it drops them in its own process.
  if (squashfs) unsquash(rootfs, processors(), sock);
  drop_privileges(Keep::write);
  die_with(sock);
  int root = ::open(squashfs ? "/target" : "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (root < 0) fail_errno(errno, "cannot open the target");
  // The rootfs first: of what the metadata archive has in the same place it is the one that counts.
  if (rootfs >= 0 && !squashfs) with_blocks(rootfs, progress, 0, [&](Blocks &b, auto step) { extract(b, Shape::rootfs, Limits(), root, step); });
  with_blocks(image, progress, rootfs >= 0 && !squashfs ? size_of(rootfs) : 0,
              [&](Blocks &b, auto step) { extract(b, rootfs < 0 ? Shape::unified : Shape::metadata, Limits(), root, step); });
  ::close(root);
  reply(Op::done, {"", "", ""});
}

void do_pack(const std::vector<int> &fds) {
  enter(fds[0], true);
  ::close(fds[0]);
  drop_privileges(Keep::read);
  die_with(sock);
  int root = ::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (root < 0) fail_errno(errno, "cannot open the image directory");
  Progress progress;
  unpack::pack(root, fds[1], [&](std::uint64_t n) { progress.at(n); }, {}, 1);
  reply(Op::done, {"", "", ""});
}

/// An instance's root: compression, volume directory, "directory", path, ids... or "overlay", lower, upper.
void do_publish(const helper::Message &m) {
  auto &a = m.args;
  if (a.size() < 4 || (a[2] == "overlay" && a.size() != 5)) fail("internal", "a malformed request");
  Composition c;
  c.volume = a[1];
  c.metadata = m.fds[1];
  if (a[2] == "overlay") {
    c.lower = a[3];
    c.upper = a[4];
  } else {
    c.rootfs = a[3];
    c.map.assign(a.begin() + 4, a.end());
  }
  enter(c);
  ::close(m.fds[1]);
  drop_privileges(Keep::read);
  die_with(sock);
  int root = ::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (root < 0) fail_errno(errno, "cannot open the root");
  Progress progress;
  unpack::pack(root, m.fds[0], [&](std::uint64_t n) { progress.at(n); }, a[0], processors());
  reply(Op::done, {"", "", ""});
}

std::string text_of(int fd) {
  std::string out(size_of(fd), '\0');
  for (std::size_t at = 0; at < out.size();) {
    ssize_t n = ::pread(fd, out.data() + at, out.size() - at, static_cast<off_t>(at));
    if (n <= 0) fail("internal", "a malformed request");
    at += static_cast<std::size_t>(n);
  }
  return out;
}

void do_backup(const std::vector<int> &fds) {
  auto plan = plan_from(text_of(fds[1]));
  ::close(fds[1]);
  Progress progress;
  pack_backup(plan, fds[0], fds.size() > 2 ? fds[2] : -1, sock, [&](std::uint64_t n) { progress.at(n); }, processors());
  reply(Op::done, {"", "", ""});
}

void do_index(const std::vector<int> &fds, const std::string &name) {
  enter(-1, true);
  drop_privileges(Keep::nothing);
  die_with(sock);
  Progress progress;
  progress.expect(size_of(fds[0]));
  std::string text;
  auto how = compression_of(fds[0]);
  // It comes first: nothing is read ahead.
  FileStream file(fds[0]);
  auto plain = decoder(how, file);
  DirectBlocks blocks(*plain);
  text = index_of(blocks, name, Limits(), [&] { progress.at(file.done()); });
  for (std::size_t at = 0; at < text.size(); at += 64 * 1024) reply(Op::data, {text.substr(at, 64 * 1024)});
  reply(Op::done, {"", name_of(how), ""});
}

/// "PART,RANGE,RANGE..." a line.
std::vector<BackupShifts> shifts_of(const std::string &text) {
  std::vector<BackupShifts> out;
  for (std::size_t at = 0; at < text.size();) {
    auto end = std::min(text.find('\n', at), text.size());
    BackupShifts s;
    bool first = true;
    for (std::size_t from = at; from <= end;) {
      auto cut = std::min(text.find(',', from), end);
      auto word = text.substr(from, cut - from);
      if (first)
        s.part = word;
      else
        s.ids.push_back(word);
      first = false;
      from = cut + 1;
    }
    out.push_back(std::move(s));
    at = end + 1;
  }
  return out;
}

void do_restore(const std::vector<int> &fds, Kind kind) {
  auto shifts = shifts_of(text_of(fds[1]));
  ::close(fds[1]);
  int to = fds[2], beside = fds.size() > 3 ? fds[3] : -1;
  Progress progress;
  progress.expect(size_of(fds[0]));
  enter(to, beside);
  ::close(to);
  if (beside >= 0) ::close(beside);
  drop_privileges(Keep::write);
  die_with(sock);
  int volume = open_below(AT_FDCWD, "/volume"), snapshots = beside < 0 ? -1 : open_below(AT_FDCWD, "/snapshots");
  if (volume < 0 || (beside >= 0 && snapshots < 0)) fail_errno(errno, "cannot open the target");
  with_blocks(fds[0], progress, 0, [&](Blocks &b, auto step) { extract_backup(b, kind, Limits(), volume, snapshots, shifts, step); });
  reply(Op::done, {"", "", ""});
}

void do_receive(const std::vector<int> &fds) {
  auto text = text_of(fds[1]);
  ::close(fds[1]);
  std::vector<std::string> files;
  for (std::size_t at = 0; at < text.size();) {
    auto end = std::min(text.find('\0', at), text.size());
    files.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  Progress progress;
  progress.expect(size_of(fds[0]));
  enter(fds[2], -1);
  ::close(fds[2]);
  drop_privileges(Keep::write);
  die_with(sock);
  int target = open_below(AT_FDCWD, "/volume");
  if (target < 0) fail_errno(errno, "cannot open the target");
  with_blocks(fds[0], progress, 0, [&](Blocks &b, auto step) { receive_streams(b, files, Limits(), target, step); });
  reply(Op::done, {"", "", ""});
}

Kind kind_of(const helper::Message &m) {
  auto word = m.args.empty() ? std::string() : m.args[0];
  return word == "tree" ? Kind::tree : word == "block" ? Kind::block : word == "iso" ? Kind::iso : Kind::instance;
}

void serve(const helper::Message &m) {
  auto need = [&](std::size_t least, std::size_t most) {
    if (m.fds.size() < least || m.fds.size() > most) fail("internal", "a request came with " + std::to_string(m.fds.size()) + " descriptors");
  };
  switch (static_cast<Op>(m.op)) {
  case Op::inspect: need(1, 2); return do_inspect(m.fds);
  case Op::unpack: need(2, 3); return do_unpack(m.fds, !m.args.empty() && m.args[0] == "squashfs");
  case Op::pack: need(2, 2); return do_pack(m.fds);
  case Op::publish: need(2, 2); return do_publish(m);
  case Op::backup: need(2, 3); return do_backup(m.fds);
  case Op::index: need(1, 1); return do_index(m.fds, m.args.empty() ? index_name : m.args[0]);
  case Op::restore: need(3, 4); return do_restore(m.fds, kind_of(m));
  case Op::receive: need(3, 3); return do_receive(m.fds);
  default: fail("internal", "unknown request " + std::to_string(m.op));
  }
}

} // namespace

int main() {
  ::umask(0);
  std::setlocale(LC_CTYPE, "C.UTF-8"); // libarchive converts names to the locale's; this keeps their bytes
  helper::Message m;
  if (int e = helper::receive_message(sock, m)) {
    if (e == ENOTSOCK) std::fputs("incus-unpack is started by libincus; it has no use on its own\n", stderr);
    return 2;
  }
  try {
    serve(m);
    return 0;
  } catch (const Failure &f) {
    reply(Op::error, {f.code, f.text});
  } catch (const std::bad_alloc &) {
    reply(Op::error, {"internal", "out of memory"});
  } catch (const std::exception &e) {
    reply(Op::error, {"internal", e.what()});
  }
  return 1;
}
