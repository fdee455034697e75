// SPDX-License-Identifier: Apache-2.0
// Carries the bytes of interactive commands between their terminals and the callers' descriptors: one thread for all.
#pragma once
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/fd.hpp"

namespace incus::instance::lxc {

class Pump {
public:
  /// One session; the terminal is closed when the session is dropped.
  struct Session {
    base::Fd terminal, in, out;
    std::string to_terminal, to_out;
    bool in_done = false, out_done = false, terminal_done = false;
    bool console = false;    ///< its end of input is nobody's end of file
    bool ends_with_in = false, ends_with_out = false;
    std::mutex mutex;        ///< guards `drained` and `ended`
    std::condition_variable changed;
    bool ended = false;      ///< nothing more can pass: the terminal has gone, or what it ends with
    bool drained = false;    ///< everything the command printed has been passed on
    bool closing = false;    ///< the command ended: pass on what is there
  };
  using Ptr = std::shared_ptr<Session>;

  ~Pump() { stop(); }
  void add(Ptr session);
  /// After the command's end: passes on what it printed, for at most `ms` while others hold the terminal open.
  void drain(const Ptr &session, int ms);
  void remove(const Ptr &session);
  void stop() noexcept;

private:
  void run();
  void wake() noexcept;
  static void step(Session &s, short terminal, short in, short out);

  std::mutex mutex_;
  std::vector<Ptr> sessions_;
  std::thread thread_;
  base::Fd wakeup_;
  bool stopping_ = false;
  int pid_ = ::getpid(); ///< a forked child's copy has no thread
};

} // namespace incus::instance::lxc
