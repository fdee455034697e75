// SPDX-License-Identifier: Apache-2.0
// metadata.yaml and templates/ of an instance, which it has from its image. An image may have planted links there: nothing here follows one.
#include <cerrno>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/error.hpp"
#include "base/names.hpp"
#include "image/image.hpp"
#include "instance/manager.hpp"
#include "sys/fault.hpp"
#include "sys/fs.hpp"

namespace incus::instance {

namespace {

constexpr const char *metadata_file = "metadata.yaml", *templates_directory = "templates";
constexpr std::size_t max_template = 1 << 20;

void check_template(const std::string &file) {
  if (file.empty() || file == "." || file == ".." || file.size() > 200 || file.find('/') != std::string::npos || !base::is_one_line(file) || file.ends_with("~tmp"))
    base::fail(ErrorCode::invalid_argument, "Invalid template filename {}: must be one file name, without '/'", base::quoted(file));
}

[[noreturn]] void no_template(const std::string &file) { base::fail(ErrorCode::not_found, "Template {} not found", base::quoted(file)); }

/// Empty when there is none; a link in its place is an error.
base::Fd templates_of(int volume) {
  if (!sys::exists_at(volume, templates_directory)) return {};
  return sys::open_child(volume, templates_directory);
}

} // namespace

base::Fd Manager::open_volume(const std::string &project, const std::string &name) {
  auto r = row(project, name);
  auto root = root_of(r, expand(r));
  return base::Fd(root.driver->open_volume(root.volume));
}

image::Metadata Manager::metadata(const std::string &project, const std::string &name) {
  auto volume = open_volume(project, name);
  auto text = sys::read_file_if_exists(volume.get(), metadata_file);
  return text ? image::parse_metadata(*text) : image::Metadata();
}

void Manager::set_metadata(const std::string &project, const std::string &name, const std::function<image::Metadata(const image::Metadata &)> &change) {
  Claim claim(*this, project, name, "metadata");
  auto text = image::format_metadata(change(metadata(project, name)));
  try {
    image::parse_metadata(text);
  } catch (const Error &e) {
    throw Error(ErrorCode::invalid_argument, "invalid metadata of instance " + base::quoted(name), e);
  }
  auto volume = open_volume(project, name);
  {
    sys::FaultScope fault("write metadata");
    sys::atomic_write(volume.get(), metadata_file, text, 0600);
  }
  event("instance-metadata-updated", project, name);
}

std::vector<std::string> Manager::templates(const std::string &project, const std::string &name) {
  auto volume = open_volume(project, name);
  auto dir = templates_of(volume.get());
  std::vector<std::string> out;
  if (!dir) return out;
  for (auto &file : sys::list_directory(dir.get())) {
    struct stat st;
    if (::fstatat(dir.get(), file.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) && !file.ends_with("~tmp")) out.push_back(file);
  }
  return out;
}

base::Fd Manager::open_template(const std::string &project, const std::string &name, const std::string &file) {
  check_template(file);
  auto volume = open_volume(project, name);
  auto dir = templates_of(volume.get());
  if (!dir) no_template(file);
  auto fd = sys::try_open_beneath(dir.get(), file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
  if (!fd && errno == ENOENT) no_template(file);
  struct stat st;
  if (!fd || ::fstat(fd.get(), &st) != 0 || !S_ISREG(st.st_mode))
    base::fail(ErrorCode::corrupt, "template {} of instance {} is not a regular file", base::quoted(file), base::quoted(name));
  return fd;
}

void Manager::write_template(const std::string &project, const std::string &name, const std::string &file, int from) {
  check_template(file);
  std::string text;
  for (char buf[16384]; from >= 0;) {
    auto n = ::read(from, buf, sizeof buf);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) base::fail_errno(errno, fmt::format("cannot read the new content of template {}", base::quoted(file)));
    if (n == 0) break;
    text.append(buf, static_cast<std::size_t>(n));
    if (text.size() > max_template) base::fail(ErrorCode::too_large, "template {} is larger than {} bytes", base::quoted(file), max_template);
  }
  Claim claim(*this, project, name, "template");
  auto volume = open_volume(project, name);
  {
    sys::FaultScope fault("write template");
    auto dir = templates_of(volume.get());
    if (!dir) dir = sys::make_directory(volume.get(), templates_directory, 0711);
    sys::atomic_write(dir.get(), file, text, 0644);
  }
  event("instance-metadata-template-created", project, name, {{"path", file}});
}

void Manager::remove_template(const std::string &project, const std::string &name, const std::string &file) {
  check_template(file);
  Claim claim(*this, project, name, "template");
  auto volume = open_volume(project, name);
  auto dir = templates_of(volume.get());
  if (!dir || !sys::exists_at(dir.get(), file)) no_template(file);
  {
    sys::FaultScope fault("remove template");
    if (::unlinkat(dir.get(), file.c_str(), 0) != 0) base::fail_errno(errno, fmt::format("cannot remove template {}", base::quoted(file)));
  }
  event("instance-metadata-template-deleted", project, name, {{"path", file}});
}

} // namespace incus::instance
