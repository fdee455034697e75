// SPDX-License-Identifier: Apache-2.0
#include "sys/tree.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <system_error>

namespace incus::sys {

namespace {

int open_step(int dir, const char *path) noexcept {
  open_how how{};
  how.flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV;
  for (;;) {
    long fd = ::syscall(SYS_openat2, dir, path, &how, sizeof how);
    if (fd >= 0 || (errno != EINTR && errno != EAGAIN)) return static_cast<int>(fd);
  }
}

/// Ancestors from the root's child down to `node`.
std::vector<const TreeNode *> chain(const TreeNode &node) {
  std::vector<const TreeNode *> v;
  for (const TreeNode *n = &node; n->parent; n = n->parent) v.push_back(n);
  std::reverse(v.begin(), v.end());
  return v;
}

} // namespace

std::string tree_path(const TreeNode &node) {
  std::string path;
  for (auto *n : chain(node)) {
    if (!path.empty()) path += '/';
    path += n->name;
  }
  return path.empty() ? "." : path;
}

std::string tree_path(const TreeNode &node, const char *name) { return node.parent ? tree_path(node) + "/" + name : std::string(name); }

base::Fd open_node(int root, const TreeNode &node) noexcept try {
  if (!node.parent) return base::Fd(open_step(root, "."));
  // A guest can nest deeper than PATH_MAX: walk in pieces that are shorter.
  base::Fd at;
  std::string piece;
  auto step = [&]() {
    base::Fd next(open_step(at ? at.get() : root, piece.c_str()));
    int err = errno;
    at = std::move(next);
    errno = err;
    piece.clear();
    return static_cast<bool>(at);
  };
  for (auto *n : chain(node)) {
    if (!piece.empty() && piece.size() + n->name.size() > 3500 && !step()) return {};
    if (!piece.empty()) piece += '/';
    piece += n->name;
  }
  if (!step()) return {};
  return at;
} catch (const std::bad_alloc &) {
  errno = ENOMEM;
  return {};
}

TreeWalk::TreeWalk(unsigned threads) : max_(threads ? threads : std::clamp(std::thread::hardware_concurrency(), 2u, 4u)) {}

TreeWalk::~TreeWalk() = default;

void TreeWalk::run(const Visit &visit, const Leave &leave) {
  visit_ = &visit;
  leave_ = leave ? &leave : nullptr;
  nodes_.emplace_back();
  stack_.push_back(&nodes_.front());
  work();
  for (auto &t : threads_) t.join();
  threads_.clear();
  if (error_) std::rethrow_exception(error_);
}

void TreeWalk::add(TreeNode &parent, std::string name) {
  std::unique_lock lock(mutex_);
  TreeNode &n = nodes_.emplace_back();
  n.parent = &parent;
  n.name = std::move(name);
  n.depth = parent.depth + 1;
  parent.pending.fetch_add(1, std::memory_order_relaxed);
  push(&n);
}

void TreeWalk::again(TreeNode &node) {
  std::unique_lock lock(mutex_);
  node.pending.fetch_add(1, std::memory_order_relaxed);
  push(&node);
}

void TreeWalk::push(TreeNode *node) {
  stack_.push_back(node);
  if (threads_.size() + 1 < max_ && stack_.size() > 8 * (threads_.size() + 1)) try {
      threads_.emplace_back([this] {
        // Signals are the embedding program's and go to its own threads.
        sigset_t all;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, nullptr);
        work();
      });
    } catch (const std::system_error &) {
      max_ = static_cast<unsigned>(threads_.size()) + 1; // no more threads to be had: slower, not wrong
    }
  ready_.notify_one();
}

void TreeWalk::finish(TreeNode *node) {
  while (node && node->pending.fetch_sub(1, std::memory_order_acq_rel) == 1) {
    if (leave_ && !(*leave_)(*node)) return;
    node = node->parent;
  }
}

void TreeWalk::work() noexcept {
  std::unique_lock lock(mutex_);
  for (;;) {
    ready_.wait(lock, [&] { return stop_ || !stack_.empty() || active_ == 0; });
    if (stop_ || stack_.empty()) break;
    TreeNode *node = stack_.back();
    stack_.pop_back();
    active_++;
    lock.unlock();
    std::exception_ptr error;
    try {
      (*visit_)(*node);
      finish(node);
    } catch (...) {
      error = std::current_exception();
    }
    lock.lock();
    active_--;
    if (error) {
      if (!error_) error_ = error;
      stop_ = true;
    }
    if (stop_ || (active_ == 0 && stack_.empty())) {
      ready_.notify_all();
      break;
    }
  }
}

} // namespace incus::sys
