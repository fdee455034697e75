// SPDX-License-Identifier: Apache-2.0
// Image files: what they hold and how they are unpacked. The store of them (rows, aliases) is the embedding door's.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <incus/image.hpp>

#include "base/fd.hpp"
#include "base/log.hpp"
#include "storage/rootfs.hpp"

namespace incus::image {

/// One entry of `templates` in metadata.yaml.
struct Template {
  std::vector<std::string> when;
  bool create_only = false;
  std::string source;      ///< file name below templates/
  Config properties;
  std::string uid, gid, mode;
};

/// metadata.yaml, parsed and checked.
struct Metadata {
  std::string architecture;           ///< canonical: x86_64, aarch64, ...
  Time creation_date, expiry_date;
  Config properties;                  ///< keys such as os, release; `requirements.*` among them
  std::map<std::string, Template> templates; ///< by target path in the guest
};

/// Parses the text (at most 1 MiB; deeper than 32 levels or with aliases expanding is refused). Throws corrupt naming line and rule.
Metadata parse_metadata(const std::string &yaml);
/// Canonical architecture name for the many spellings in use; empty when not known.
std::string canonical_architecture(const std::string &name);
/// The host's, as the kernel says.
std::string host_architecture();
/// Whether a host can run it (same, or its 32-bit personality).
bool architecture_runs(const std::string &host, const std::string &image);

/// What is found in image files.
struct Inspected {
  Metadata metadata;
  std::string metadata_yaml;   ///< as it stands in the file
  std::string fingerprint;     ///< SHA-256 over the file, or over metadata then rootfs
  std::int64_t size = 0;       ///< bytes, all files
  std::string type;            ///< "container" or "virtual-machine" (rootfs is a disk image)
  bool squashfs = false;       ///< split rootfs is a squashfs
  std::string compression;     ///< "", "gzip", "xz", "zstd", "bzip2" of the unified or metadata file
};

/// Reads image files without unpacking: finds metadata.yaml, checks that a rootfs is there, hashes. `rootfs` is -1 for a unified
/// image. Decompression and archive parsing run in the helper. Descriptors are read from their beginning and must be regular files.
/// Throws corrupt/invalid_argument naming the entry and rule.
Inspected inspect(const std::string &helper, int image, int rootfs, const std::function<void(std::uint64_t, std::uint64_t)> &progress = {});

/// Unpacks into the empty directory `dirfd`: metadata.yaml, templates/, rootfs/. Runs in the helper, pivoted into the target. Owners,
/// modes, hard links, xattrs, ACLs, file capabilities, sparse files and device nodes are kept.
void unpack(const std::string &helper, int image, int rootfs, bool squashfs, int dirfd,
            const std::function<void(std::uint64_t, std::uint64_t)> &progress = {});

/// Packs an unpacked image directory (metadata.yaml and rootfs/, templates/) into `out` as an uncompressed tar (pax), everything kept;
/// runs in the helper. Deterministic for the same tree.
void pack(const std::string &helper, int dirfd, int out);

/// The root of an instance, as it is to become an image.
struct Publication {
  std::string volume;          ///< directory that may hold templates/
  storage::RootfsPlan rootfs;
  storage::IdMap ids;          ///< that owners on disk have; empty: the guest's
  std::string metadata_yaml;
  std::string compression;     ///< as check_compression() gives it
};
/// Packs it into `out` as pack() does.
void publish(const std::string &helper, const Publication &p, int out, const std::function<void(std::uint64_t, std::uint64_t)> &progress = {});
/// "gzip", "zstd -7", "gzip --rsyncable", "none": a name, maybe a level, maybe what makes gzip's output good for rsync; throws invalid_argument. Empty: the
/// default. What comes back is the helper's form.
std::string check_compression(const std::string &text);
/// The text of a metadata.yaml that parse_metadata() reads back the same.
std::string format_metadata(const Metadata &m);

/// Where image files stay: a directory, or memory for test://.
class Files {
public:
  virtual ~Files() = default;
  /// Takes over the content (copied by reflink or copy_file_range; mode 0600), durable on return. Idempotent.
  virtual void put(const std::string &fingerprint, int image, int rootfs) = 0;
  /// Descriptors for reading; the second is empty for a unified image. Throws not_found.
  virtual std::pair<base::Fd, base::Fd> open(const std::string &fingerprint) = 0;
  /// Idempotent.
  virtual void remove(const std::string &fingerprint) = 0;
  /// Fingerprints that have a file, for check.
  virtual std::vector<std::string> list() = 0;
};
/// Files FINGERPRINT and FINGERPRINT.rootfs below a directory.
std::unique_ptr<Files> files_in(const std::string &directory);
std::unique_ptr<Files> files_in_memory();

} // namespace incus::image
