// SPDX-License-Identifier: Apache-2.0
// Work that waits for a thread: everybody who has some gets their turn, however much one of them has.
#pragma once
#include <deque>
#include <functional>
#include <list>
#include <string>
#include <unordered_map>

namespace incus::rest {

class FairQueue {
public:
  using Work = std::function<void()>;
  bool empty() const { return turns_.empty(); }
  void push(const std::string &who, Work work) {
    auto it = by_name_.find(who);
    if (it == by_name_.end()) it = by_name_.emplace(who, turns_.insert(turns_.end(), Turn{who, {}})).first;
    it->second->work.push_back(std::move(work));
  }
  /// The first work of the first whose turn it is and who may; false when there is none.
  template <class May> bool pop(May may, std::string &who, Work &work) {
    for (auto it = turns_.begin(); it != turns_.end(); ++it) {
      if (!may(it->who)) continue;
      who = it->who;
      work = std::move(it->work.front());
      it->work.pop_front();
      if (it->work.empty()) {
        by_name_.erase(it->who);
        turns_.erase(it);
      } else {
        turns_.splice(turns_.end(), turns_, it);
      }
      return true;
    }
    return false;
  }
  template <class May> bool any(May may) const {
    for (auto &t : turns_)
      if (may(t.who)) return true;
    return false;
  }

private:
  struct Turn {
    std::string who;
    std::deque<Work> work;
  };
  std::list<Turn> turns_;
  std::unordered_map<std::string, std::list<Turn>::iterator> by_name_;
};

} // namespace incus::rest
