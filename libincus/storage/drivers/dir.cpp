// SPDX-License-Identifier: Apache-2.0
// The `dir` driver: an instance is a directory with a copy of its image (sharing blocks where the file system can).
#include "storage/drivers/dir.hpp"

#include "storage/config.hpp"
#include "storage/trees.hpp"

namespace incus::storage {

namespace {
class Dir final : public RootfsTree {
public:
  using RootfsTree::RootfsTree;
};
} // namespace

const DriverInfo dir_driver = {
    "dir",
    "A directory tree an instance, copied from the image (reflinked where the file system can). Works on every file system.",
    [](const DriverContext &context) -> std::unique_ptr<Driver> { return std::make_unique<Dir>(context); },
    validate_pool,
};

} // namespace incus::storage
