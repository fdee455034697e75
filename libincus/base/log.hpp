// SPDX-License-Identifier: Apache-2.0
// Where a Host's log lines go. One object a Host; shared by everything that works for it.
#pragma once
#include <fmt/format.h>
#include <functional>
#include <string>

#include <incus/host.hpp>

namespace incus::base {

class Log {
public:
  using Sink = std::function<void(LogLevel, const std::string &)>;
  explicit Log(Sink sink = {}) : sink_(std::move(sink)) {}
  void write(LogLevel level, const std::string &line) const noexcept {
    if (!sink_) return;
    try {
      sink_(level, line);
    } catch (...) {
    }
  }
  template <class... A> void debug(fmt::format_string<A...> f, A &&...a) const {
    if (sink_) write(LogLevel::debug, fmt::format(f, std::forward<A>(a)...));
  }
  template <class... A> void info(fmt::format_string<A...> f, A &&...a) const {
    if (sink_) write(LogLevel::info, fmt::format(f, std::forward<A>(a)...));
  }
  template <class... A> void warning(fmt::format_string<A...> f, A &&...a) const {
    if (sink_) write(LogLevel::warning, fmt::format(f, std::forward<A>(a)...));
  }
  template <class... A> void error(fmt::format_string<A...> f, A &&...a) const {
    if (sink_) write(LogLevel::error, fmt::format(f, std::forward<A>(a)...));
  }

private:
  Sink sink_;
};

} // namespace incus::base
