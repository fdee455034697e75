// SPDX-License-Identifier: Apache-2.0
// A root file system in memory, served by the same code that serves real ones in the helper.
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstring>
#include <ctime>
#include <map>
#include <mutex>
#include <pthread.h>
#include <sys/socket.h>
#include <thread>

#include "base/error.hpp"
#include "helper/files/sftp.hpp"
#include "helper/files/verbs.hpp"
#include "mock/mock.hpp"

namespace incus::mock {

namespace {

using files::Change;
using files::Stat;

constexpr std::uint64_t largest_file = std::uint64_t{1} << 30;

struct Node;
using NodePtr = std::shared_ptr<Node>;
struct Node {
  Stat st;
  std::string data; ///< of a file, or where a link leads
  std::map<std::string, NodePtr> names;
};

NodePtr node(std::uint32_t mode) {
  auto n = std::make_shared<Node>();
  n->st.mode = mode;
  n->st.atime = n->st.mtime = std::time(nullptr);
  return n;
}

NodePtr clone(const Node &from) {
  auto out = std::make_shared<Node>(Node{from.st, from.data, {}});
  for (auto &[name, child] : from.names) out->names[name] = clone(*child);
  return out;
}

void apply(Node &n, const Change &c) {
  if (c.size) n.data.resize(*c.size);
  if (c.uid) n.st.uid = *c.uid;
  if (c.gid) n.st.gid = *c.gid;
  if (c.permissions) n.st.mode = (n.st.mode & ~07777u) | *c.permissions;
  if (c.mtime) {
    n.st.mtime = *c.mtime;
    n.st.atime = c.atime.value_or(*c.mtime);
  }
}

class Tree final : public files::Vfs, public std::enable_shared_from_this<Tree> {
public:
  explicit Tree(NodePtr root) : root_(std::move(root)) {}

  std::shared_ptr<Tree> copy() {
    std::lock_guard lock(mutex_);
    return std::make_shared<Tree>(clone(*root_));
  }

  int stat(const std::string &path, bool follow, Stat &st) override {
    std::lock_guard lock(mutex_);
    Place p;
    if (int e = walk(path, follow, p)) return e;
    if (!p.node) return ENOENT;
    st = look(*p.node);
    return 0;
  }

  int open(const std::string &path, const files::OpenHow &how, std::unique_ptr<files::File> &file, bool &made) override;
  int open_directory(const std::string &path, std::unique_ptr<files::Directory> &directory) override;

  int change(const std::string &path, bool follow, const Change &c) override {
    std::lock_guard lock(mutex_);
    Place p;
    if (int e = walk(path, follow, p)) return e;
    if (!p.node) return ENOENT;
    if (c.size && p.node->st.is_directory()) return EISDIR;
    if (c.size && (*c.size > largest_file || !p.node->st.is_file())) return EINVAL;
    apply(*p.node, c);
    return 0;
  }

  int make_directory(const std::string &path, std::uint32_t permissions) override { return add(path, node(S_IFDIR | (permissions & 07777))); }

  int remove_file(const std::string &path) override {
    std::lock_guard lock(mutex_);
    Place p;
    if (int e = walk(path, false, p)) return e;
    if (!p.node) return ENOENT;
    if (p.node->st.is_directory()) return EISDIR;
    p.node->st.links -= 1;
    p.parent->names.erase(p.name);
    return 0;
  }

  int remove_directory(const std::string &path) override {
    std::lock_guard lock(mutex_);
    Place p;
    if (int e = walk(path, false, p)) return e;
    if (!p.node) return ENOENT;
    if (!p.node->st.is_directory()) return ENOTDIR;
    if (!p.parent) return EBUSY;
    if (!p.node->names.empty()) return ENOTEMPTY;
    p.parent->names.erase(p.name);
    return 0;
  }

  int rename(const std::string &from, const std::string &to, bool replace) override {
    std::lock_guard lock(mutex_);
    Place a, b;
    if (int e = walk(from, false, a)) return e;
    if (int e = walk(to, false, b)) return e;
    if (!a.node) return ENOENT;
    if (!a.parent || !b.parent) return EBUSY;
    if (a.node == b.node) return 0;
    if (b.node) {
      if (!replace) return EEXIST;
      if (b.node->st.is_directory() != a.node->st.is_directory()) return b.node->st.is_directory() ? EISDIR : ENOTDIR;
      if (!b.node->names.empty()) return ENOTEMPTY;
    }
    if (holds(*a.node, b.parent)) return EINVAL;
    a.parent->names.erase(a.name);
    b.parent->names[b.name] = a.node;
    return 0;
  }

  int make_link(const std::string &target, const std::string &path) override {
    if (target.empty()) return ENOENT;
    auto n = node(S_IFLNK | 0777);
    n->data = target;
    return add(path, n);
  }

  int make_hard_link(const std::string &from, const std::string &to) override {
    std::lock_guard lock(mutex_);
    Place a, b;
    if (int e = walk(from, false, a)) return e;
    if (int e = walk(to, false, b)) return e;
    if (!a.node) return ENOENT;
    if (a.node->st.is_directory()) return EPERM;
    if (b.node) return EEXIST;
    a.node->st.links++;
    b.parent->names[b.name] = a.node;
    return 0;
  }

  int read_link(const std::string &path, std::string &target) override {
    std::lock_guard lock(mutex_);
    Place p;
    if (int e = walk(path, false, p)) return e;
    if (!p.node) return ENOENT;
    if (!p.node->st.is_link()) return EINVAL;
    target = p.node->data;
    return 0;
  }

  int space(const std::string &path, files::Space &s) override {
    Stat st;
    if (int e = stat(path, true, st)) return e;
    s.blocks = s.free = s.available = 1 << 20;
    s.files = s.files_free = s.files_available = 1 << 20;
    return 0;
  }

  static Stat look(const Node &n) {
    auto st = n.st;
    st.size = st.is_directory() ? 4096 : n.data.size();
    return st;
  }

  std::mutex mutex_;

private:
  struct Place {
    Node *parent = nullptr; ///< null: the root itself
    std::string name;
    NodePtr node; ///< null: not there, but could be made
  };

  static bool holds(const Node &n, const Node *wanted) {
    if (&n == wanted) return true;
    for (auto &[name, child] : n.names)
      if (holds(*child, wanted)) return true;
    return false;
  }

  /// As the kernel walks: "..", links, and at most 40 of these.
  int walk(std::string path, bool follow, Place &out) {
    int links = 0;
    if (path.size() > 4095) return ENAMETOOLONG;
    std::vector<std::pair<NodePtr, std::string>> trail; // directories from below the root to the current one
    auto current = [&] { return trail.empty() ? root_ : trail.back().first; };
    for (std::size_t at = 0;;) {
      while (at < path.size() && path[at] == '/') at++;
      if (at >= path.size()) {
        // Named by "/", "..", or a path that ends in "/".
        out.node = current();
        out.parent = trail.empty() ? nullptr : trail.size() == 1 ? root_.get() : trail[trail.size() - 2].first.get();
        out.name = trail.empty() ? "" : trail.back().second;
        return 0;
      }
      auto end = std::min(path.find('/', at), path.size());
      auto part = path.substr(at, end - at);
      at = end;
      bool last = path.find_first_not_of('/', at) == path.npos;
      if (part.size() > 255) return ENAMETOOLONG;
      auto here = current();
      if (!here->st.is_directory()) return ENOTDIR;
      if (part == ".") continue;
      if (part == "..") {
        if (!trail.empty()) trail.pop_back();
        continue;
      }
      auto it = here->names.find(part);
      if (it == here->names.end()) {
        if (!last) return ENOENT;
        out = {here.get(), part, nullptr};
        return 0;
      }
      auto next = it->second;
      if (next->st.is_link() && (!last || follow || at < path.size())) {
        if (++links > 40) return ELOOP;
        if (next->data.starts_with('/')) trail.clear();
        path = next->data + path.substr(at);
        at = 0;
        continue;
      }
      if (last && !(at < path.size() && !next->st.is_directory())) {
        out = {here.get(), part, next};
        return 0;
      }
      if (!next->st.is_directory()) return ENOTDIR;
      trail.emplace_back(next, part);
    }
  }

  int add(const std::string &path, NodePtr fresh) {
    std::lock_guard lock(mutex_);
    Place p;
    if (int e = walk(path, false, p)) return e;
    if (p.node) return EEXIST;
    p.parent->names[p.name] = std::move(fresh);
    return 0;
  }

  NodePtr root_;
};

class TreeFile final : public files::File {
public:
  TreeFile(std::shared_ptr<Tree> tree, NodePtr n, bool read, bool write) : tree_(std::move(tree)), node_(std::move(n)), read_(read), write_(write) {}
  int read(std::uint64_t offset, char *to, std::size_t size, std::size_t &done) override {
    std::lock_guard lock(tree_->mutex_);
    done = 0;
    if (!read_) return EBADF;
    if (offset >= node_->data.size()) return 0;
    done = std::min(size, node_->data.size() - offset);
    std::memcpy(to, node_->data.data() + offset, done);
    return 0;
  }
  int write(std::uint64_t offset, const char *from, std::size_t size) override {
    std::lock_guard lock(tree_->mutex_);
    if (!write_) return EBADF;
    if (offset > largest_file || size > largest_file - offset) return EFBIG;
    if (node_->data.size() < offset + size) node_->data.resize(offset + size);
    std::memcpy(node_->data.data() + offset, from, size);
    node_->st.mtime = std::time(nullptr);
    return 0;
  }
  int stat(Stat &st) override {
    std::lock_guard lock(tree_->mutex_);
    st = Tree::look(*node_);
    return 0;
  }
  int change(const Change &c) override {
    std::lock_guard lock(tree_->mutex_);
    if (c.size && (!write_ || *c.size > largest_file)) return EINVAL;
    apply(*node_, c);
    return 0;
  }
  int sync() override { return 0; }

private:
  std::shared_ptr<Tree> tree_;
  NodePtr node_;
  bool read_, write_;
};

class TreeDirectory final : public files::Directory {
public:
  TreeDirectory(std::shared_ptr<Tree> tree, NodePtr node, std::vector<std::pair<std::string, Stat>> all)
      : tree_(std::move(tree)), node_(std::move(node)), all_(std::move(all)) {}
  bool next(std::string &name, Stat &st) override {
    if (at_ >= all_.size()) return false;
    std::tie(name, st) = all_[at_++];
    return true;
  }
  int stat(Stat &st) override {
    std::lock_guard lock(tree_->mutex_);
    st = Tree::look(*node_);
    return 0;
  }
  int change(const Change &c) override {
    if (c.size) return EISDIR;
    std::lock_guard lock(tree_->mutex_);
    apply(*node_, c);
    return 0;
  }

private:
  std::shared_ptr<Tree> tree_;
  NodePtr node_;
  std::vector<std::pair<std::string, Stat>> all_;
  std::size_t at_ = 0;
};

int Tree::open(const std::string &path, const files::OpenHow &how, std::unique_ptr<files::File> &file, bool &made) {
  std::lock_guard lock(mutex_);
  Place p;
  made = false;
  if (int e = walk(path, !(how.create && how.exclusive), p)) return e;
  if (!p.node) {
    if (!how.create) return ENOENT;
    p.node = p.parent->names[p.name] = node(S_IFREG | (how.permissions & 07777));
    made = true;
  } else if (how.create && how.exclusive) {
    return EEXIST;
  }
  if (p.node->st.is_directory()) return EISDIR;
  if (!p.node->st.is_file()) return EINVAL;
  if (how.truncate) p.node->data.clear();
  file = std::make_unique<TreeFile>(shared_from_this(), p.node, how.read, how.write);
  return 0;
}

int Tree::open_directory(const std::string &path, std::unique_ptr<files::Directory> &directory) {
  std::lock_guard lock(mutex_);
  Place p;
  if (int e = walk(path, true, p)) return e;
  if (!p.node) return ENOENT;
  if (!p.node->st.is_directory()) return ENOTDIR;
  std::vector<std::pair<std::string, Stat>> all;
  for (auto &[name, child] : p.node->names) all.emplace_back(name, look(*child));
  directory = std::make_unique<TreeDirectory>(shared_from_this(), p.node, std::move(all));
  return 0;
}

/// A thread a request, as in the helper.
class MemoryServer final : public instance::FileServer {
public:
  explicit MemoryServer(std::shared_ptr<files::Vfs> tree) : tree_(std::move(tree)) {}
  ~MemoryServer() override {
    std::unique_lock lock(state_->mutex);
    for (auto &[id, socket] : state_->sockets) ::shutdown(socket, SHUT_RDWR);
    // One that waits for a caller's own pipe holds nothing but that, and ends with it.
    state_->idle.wait_for(lock, std::chrono::seconds(1), [&] { return state_->sockets.empty(); });
  }

  bool send(const helper::Message &m) override {
    if (m.fds.empty()) base::fail(ErrorCode::internal, "a file request without a socket");
    std::vector<base::Fd> own;
    for (int fd : m.fds) own.push_back(base::dup_fd(fd));
    helper::Message mine{m.op, m.args, {}};
    for (auto &fd : own) mine.fds.push_back(fd.get());
    std::unique_lock lock(state_->mutex);
    auto id = state_->next++;
    sigset_t all, old;
    sigfillset(&all); // SIGPIPE too: a reader may go
    pthread_sigmask(SIG_SETMASK, &all, &old);
    try {
      std::thread(run, tree_, state_, id, std::move(mine)).detach();
    } catch (const std::system_error &e) {
      pthread_sigmask(SIG_SETMASK, &old, nullptr);
      base::fail(ErrorCode::unavailable, "cannot start a thread for files: {}", e.what());
    }
    pthread_sigmask(SIG_SETMASK, &old, nullptr);
    state_->sockets[id] = own[0].get();
    for (auto &fd : own) fd.release(); // the thread's now
    return true;
  }

  bool ended() override { return false; }

private:
  struct State {
    std::mutex mutex;
    std::condition_variable idle;
    std::map<int, int> sockets;
    int next = 0;
  };

  static void run(std::shared_ptr<files::Vfs> tree, std::shared_ptr<State> state, int id, helper::Message m) {
    // Kept until it is out of the list, so that no other descriptor of its number is ended in its place.
    int guard = m.fds[0];
    try {
      m.fds[0] = base::dup_fd(guard).release();
      if (static_cast<files::Op>(m.op) == files::Op::sftp) {
        files::serve_sftp(*tree, m.fds[0]);
        for (int fd : m.fds) ::close(fd);
      } else {
        files::serve_verb(*tree, m);
      }
    } catch (const std::exception &) { // out of memory or descriptors: the client sees the end of its socket
    }
    std::lock_guard lock(state->mutex);
    state->sockets.erase(id);
    ::close(guard);
    state->idle.notify_all();
  }

  std::shared_ptr<files::Vfs> tree_;
  std::shared_ptr<State> state_ = std::make_shared<State>();
};

} // namespace

std::shared_ptr<files::Vfs> make_tree(bool filled) {
  auto root = node(S_IFDIR | 0755);
  if (filled) {
    for (auto *name : {"dev", "etc", "proc", "run", "sys", "usr", "var"}) root->names[name] = node(S_IFDIR | 0755);
    root->names["root"] = node(S_IFDIR | 0700);
    root->names["tmp"] = node(S_IFDIR | 01777);
  }
  return std::make_shared<Tree>(std::move(root));
}

std::shared_ptr<files::Vfs> copy_tree(const std::shared_ptr<files::Vfs> &tree) { return static_cast<Tree &>(*tree).copy(); }

instance::FileServerMaker file_servers() {
  return [](const instance::FilesPlace &place) -> std::unique_ptr<instance::FileServer> {
    auto *trees = dynamic_cast<Trees *>(place.driver.get());
    if (!trees) base::fail(ErrorCode::internal, "the pool of {} is not one in memory", place.key.name);
    return std::make_unique<MemoryServer>(trees->tree(place.volume));
  };
}

} // namespace incus::mock
