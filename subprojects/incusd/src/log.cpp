// SPDX-License-Identifier: Apache-2.0
#include <chrono>
#include <algorithm>
#include <cstdio>
#include <ctime>
#include <fcntl.h>
#include <fmt/format.h>
#include <incus/error.hpp>
#include <memory>
#include <mutex>
#include <syslog.h>
#include <unistd.h>

#include "daemon.hpp"

namespace incusd {

using incus::LogLevel;

namespace {

const char *word(LogLevel l) {
  switch (l) {
  case LogLevel::debug: return "debug";
  case LogLevel::info: return "info";
  case LogLevel::warning: return "warning";
  case LogLevel::error: return "error";
  }
  return "";
}

/// In the form of logfmt, one line an entry.
std::string line(LogLevel level, const std::string &message) {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  tm t{};
  ::localtime_r(&now.tv_sec, &t);
  char stamp[40];
  std::strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S%z", &t);
  std::string text;
  for (char c : message) {
    if (c == '"' || c == '\\') text += '\\';
    if (c == '\n')
      text += "\\n";
    else
      text += static_cast<unsigned char>(c) < 32 ? ' ' : c;
  }
  return fmt::format("time=\"{}\" level={} msg=\"{}\"\n", stamp, word(level), text);
}

void put(int fd, const std::string &text) { [[maybe_unused]] auto n = ::write(fd, text.data(), text.size()); }

} // namespace

std::function<void(LogLevel, const std::string &)> open_log(const Options &o) {
  auto least = o.debug ? LogLevel::debug : o.verbose ? LogLevel::info : LogLevel::warning;
  int file = -1;
  if (!o.logfile.empty()) {
    file = ::open(o.logfile.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (file < 0) throw incus::Error(incus::ErrorCode::invalid_argument, fmt::format("cannot open the log file \"{}\"", o.logfile));
  }
  if (o.syslog) ::openlog("incusd", LOG_PID, LOG_DAEMON);
  return [least, file, to_syslog = o.syslog](LogLevel level, const std::string &message) {
    // The file and syslog have what an operator looks for afterwards; the terminal what was asked for.
    if (level >= least) put(STDERR_FILENO, line(level, message));
    if (file >= 0 && level >= std::min(least, LogLevel::info)) put(file, line(level, message));
    if (to_syslog && level >= std::min(least, LogLevel::info)) {
      int priority = level == LogLevel::error ? LOG_ERR : level == LogLevel::warning ? LOG_WARNING : level == LogLevel::info ? LOG_INFO : LOG_DEBUG;
      ::syslog(priority, "%s", message.c_str());
    }
  };
}

} // namespace incusd
