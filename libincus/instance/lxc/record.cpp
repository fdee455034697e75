// SPDX-License-Identifier: Apache-2.0
// What the run directory keeps of a running guest's devices: `disks.start` and `interfaces.start` what liblxc gave it, and gives it again when it
// reboots; `disks` and `interfaces` what it has now, where that may differ.
#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <set>
#include <sys/stat.h>

#include "base/error.hpp"
#include "base/names.hpp"
#include "instance/lxc/impl.hpp"

namespace incus::instance::lxc {

namespace {
/// Before a line: it may be there or not.
constexpr char in_doubt = '\x1e';

std::string joined(const std::vector<std::string> &lines, bool doubtful) {
  std::string out;
  for (auto &l : lines) {
    if (doubtful) out += in_doubt;
    out += l + "\n";
  }
  return out;
}
} // namespace

void write_run_file(const std::string &path, const std::string &text, mode_t mode) {
  std::string temporary = path + "~tmp";
  ::unlink(temporary.c_str());
  base::Fd fd(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode));
  if (!fd) base::fail_errno(errno, fmt::format("cannot write {}", base::quoted(path)));
  ssize_t n = ::write(fd.get(), text.data(), text.size());
  if (n != static_cast<ssize_t>(text.size()) || ::fchmod(fd.get(), mode) < 0 || ::rename(temporary.c_str(), path.c_str()) < 0) {
    int e = n >= 0 && n != static_cast<ssize_t>(text.size()) ? ENOSPC : errno;
    ::unlink(temporary.c_str());
    base::fail_errno(e, fmt::format("cannot write {}", base::quoted(path)));
  }
}

std::vector<std::string> lines_of(std::string_view text) {
  std::vector<std::string> out;
  while (!text.empty()) {
    auto end = std::min(text.find('\n'), text.size());
    out.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return out;
}

std::string Difference::text() const { return joined(keep, false) + joined(gone, true) + joined(come, true); }

std::string first_part(const std::string &line) {
  std::size_t from = !line.empty() && line[0] == in_doubt ? 1 : 0;
  return line.substr(from, line.find(record_separator) - from);
}

Difference difference(const std::vector<std::string> &had, const std::vector<std::string> &want) {
  Difference d;
  std::set<std::string> keep, wanted(want.begin(), want.end());
  for (auto &l : had) {
    bool doubtful = !l.empty() && l[0] == in_doubt;
    auto line = doubtful ? l.substr(1) : l;
    if (!wanted.count(line))
      d.gone.push_back(line);
    else if (!doubtful)
      keep.insert(line);
  }
  for (auto &l : want)
    if (!keep.count(l)) d.come.push_back(l);
  d.keep.assign(keep.begin(), keep.end());
  return d;
}

} // namespace incus::instance::lxc
