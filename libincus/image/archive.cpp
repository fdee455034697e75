// SPDX-License-Identifier: Apache-2.0
// inspect, unpack and pack: the engine's side.
#include <cerrno>
#include <memory>
#include <openssl/evp.h>
#include <sys/stat.h>

#include "base/error.hpp"
#include "helper/unpack/common.hpp"
#include "image/helper.hpp"
#include "image/image.hpp"
#include "sys/fault.hpp"

namespace incus::image {

namespace {

std::int64_t size_of(int fd, const char *what) {
  struct stat st;
  if (::fstat(fd, &st) < 0) base::fail_errno(errno, fmt::format("cannot read the {}", what));
  if (!S_ISREG(st.st_mode)) base::fail(ErrorCode::invalid_argument, "the {} is not a regular file", what);
  return st.st_size;
}

std::uint32_t number(unpack::Op op) { return static_cast<std::uint32_t>(op); }

class Sha256 {
public:
  Sha256() : context_(EVP_MD_CTX_new(), EVP_MD_CTX_free) {
    if (!context_ || EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) != 1) base::fail(ErrorCode::internal, "SHA-256 is not available");
  }
  void add(const void *data, std::size_t n) { EVP_DigestUpdate(context_.get(), data, n); }
  std::string hex() {
    unsigned char out[32];
    EVP_DigestFinal_ex(context_.get(), out, nullptr);
    std::string text;
    for (unsigned char c : out) text += fmt::format("{:02x}", c);
    return text;
  }

private:
  std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX *)> context_;
};

/// Reads a file once; `between` is called every megabyte.
void hash_file(Sha256 &to, int fd, const char *what, const std::function<void()> &between) {
  std::vector<char> buffer(1 << 20);
  for (off_t at = 0;;) {
    ssize_t n = ::pread(fd, buffer.data(), buffer.size(), at);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) base::fail_errno(errno, fmt::format("cannot read the {}", what));
    if (n == 0) return;
    to.add(buffer.data(), static_cast<std::size_t>(n));
    at += n;
    between();
  }
}

} // namespace

Inspected inspect(const std::string &helper, int image, int rootfs, const Progress &progress) {
  Inspected out;
  out.size = size_of(image, "image file");
  if (rootfs >= 0) out.size += size_of(rootfs, "rootfs file");
  std::vector<int> fds{image};
  if (rootfs >= 0) fds.push_back(rootfs);
  // The helper parses while this thread hashes the same pages.
  Job job(helper, number(unpack::Op::inspect), {}, fds);
  Sha256 hash;
  auto between = [&] { job.poll(progress); };
  hash_file(hash, image, "image file", between);
  if (rootfs >= 0) hash_file(hash, rootfs, "rootfs file", between);
  auto result = job.finish(progress);
  if (result.size() < 3) base::fail(ErrorCode::internal, "the image helper sent a short answer");
  out.fingerprint = hash.hex();
  out.type = result[0];
  out.compression = result[1];
  out.squashfs = result[2] == "squashfs";
  out.metadata_yaml = job.data();
  out.metadata = parse_metadata(out.metadata_yaml);
  return out;
}

void unpack(const std::string &helper, int image, int rootfs, bool squashfs, int dirfd, const Progress &progress) {
  size_of(image, "image file");
  std::vector<int> fds{dirfd, image};
  if (rootfs >= 0) {
    size_of(rootfs, "rootfs file");
    fds.push_back(rootfs);
  }
  sys::FaultScope fault("unpack image");
  Job job(helper, number(unpack::Op::unpack), {squashfs ? "squashfs" : ""}, fds);
  job.finish(progress);
}

void pack(const std::string &helper, int dirfd, int out) {
  sys::FaultScope fault("pack image");
  Job job(helper, number(unpack::Op::pack), {}, {dirfd, out});
  job.finish({});
}

} // namespace incus::image
