// SPDX-License-Identifier: Apache-2.0
// A walk over a directory tree by several threads, a directory at a time. Directories are opened from the root by their path when their turn
// comes, so that a deep or wide tree costs no open descriptors, whatever a guest made of it.
#pragma once
#include <atomic>
#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/fd.hpp"

namespace incus::sys {

/// A directory of the tree, by its name in the parent. Lives as long as the walk.
struct TreeNode {
  TreeNode *parent = nullptr;
  std::string name; ///< empty: the root of the walk
  std::atomic<long> pending{1};
  int tries = 0;
  unsigned depth = 0; ///< levels below the root
};

/// "usr/bin", "." for the root.
std::string tree_path(const TreeNode &node);
std::string tree_path(const TreeNode &node, const char *name);

/// Opens a node's directory below `root` without following links or crossing mounts; empty with errno set when that fails.
base::Fd open_node(int root, const TreeNode &node) noexcept;

class TreeWalk {
public:
  using Visit = std::function<void(TreeNode &)>;
  /// False: it called again() and the directory is not done yet.
  using Leave = std::function<bool(TreeNode &)>;
  /// At most `threads` (0: by the machine, at most 4); more than the caller's only once there is enough to do.
  explicit TreeWalk(unsigned threads = 0);
  ~TreeWalk();
  /// Visits the root and whatever visits add; `leave` (optional) is called for a directory when it and all below it are done. The first
  /// exception stops the walk and is thrown here.
  void run(const Visit &visit, const Leave &leave = {});
  /// From a visit: queues a directory.
  void add(TreeNode &parent, std::string name);
  /// Queues a node once more, from its visit or `leave`.
  void again(TreeNode &node);
  bool stopped() const noexcept { return stop_; }

private:
  void push(TreeNode *node);
  void work() noexcept;
  void finish(TreeNode *node);

  const Visit *visit_ = nullptr;
  const Leave *leave_ = nullptr;
  unsigned max_;
  std::mutex mutex_;
  std::condition_variable ready_;
  std::vector<TreeNode *> stack_;
  std::deque<TreeNode> nodes_;
  std::vector<std::thread> threads_;
  std::size_t active_ = 0;
  std::atomic<bool> stop_{false};
  std::exception_ptr error_;
};

} // namespace incus::sys
