// SPDX-License-Identifier: Apache-2.0
// Undo of multi-step work: steps run in reverse order unless success() was called.
#pragma once
#include <functional>
#include <utility>
#include <vector>

namespace incus::base {

class Revert {
public:
  Revert() = default;
  Revert(const Revert &) = delete;
  Revert &operator=(const Revert &) = delete;
  ~Revert() { fail(); }
  void add(std::function<void()> undo) { steps_.push_back(std::move(undo)); }
  void success() { steps_.clear(); }
  /// Runs the steps now; an undo that throws does not stop the others (the next open's reconciliation repeats it).
  void fail() noexcept {
    while (!steps_.empty()) {
      auto f = std::move(steps_.back());
      steps_.pop_back();
      try {
        f();
      } catch (...) {
      }
    }
  }

private:
  std::vector<std::function<void()>> steps_;
};

} // namespace incus::base
