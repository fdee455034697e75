// SPDX-License-Identifier: Apache-2.0
// The threads of a server. All run one io_context; a handler that blocks runs on the thread that read its request, and another thread takes
// over the sockets: a request costs no hand-over, and no number of waiting handlers stops the others. What is asked for beyond all limits waits, and no
// client's waiting holds up another's.
#pragma once
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <unordered_map>

#include "rest/fair_queue.hpp"

namespace incus::rest {

class Workers {
public:
  /// Who keeps patient work waiting. Each has threads of its own: clients that send slowly, or a guest whose file system hangs, hold up their like alone.
  enum class Lane { change, guest, stream };
  /// `most_patient`: so much patient work of a lane runs at a time; more waits its turn.
  explicit Workers(int most_patient = 350);
  ~Workers() { stop(); }
  boost::asio::io_context &io() { return io_; }

  /// Runs `work` here and now when few enough are busy, else later on another thread. For handlers that answer soon. `who` asked for it: those who wait
  /// get their turns one after another.
  void quick(const std::string &who, std::function<void()> work);
  /// Runs `work` on a thread where nothing else is held up: for what waits for clients, for time, for other processes. Of a lane's threads nobody gets so
  /// many that none is left for who comes next: at most about three times as many as remain free.
  void patient(Lane lane, const std::string &who, std::function<void()> work);
  /// Ends the threads once the work that runs is done; work not begun is dropped. Not from a worker.
  void stop();

private:
  void spawn();
  void run();
  void begin();
  void end();
  struct Patient {
    int running = 0;
    std::unordered_map<std::string, int> of; ///< how many of those are whose
    FairQueue put_off;
  };
  bool may_run(const Patient &lane, const std::string &who) const;
  void run_patient(Lane lane);
  boost::asio::io_context io_;
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> guard_;
  std::mutex mutex_;
  std::condition_variable gone_;
  FairQueue waiting_;
  Patient lanes_[3];
  const int most_patient_;
  int threads_ = 0, busy_ = 0, quick_ = 0;
  bool stopping_ = false;
};

} // namespace incus::rest
