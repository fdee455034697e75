// SPDX-License-Identifier: Apache-2.0
// What is shown while one waits.
#include <csignal>
#include <unistd.h>

#include "output.hpp"
#include "server.hpp"

namespace cli {

using Clock = std::chrono::steady_clock;

Progress::Progress(const Context &context, std::string format)
    : format_(std::move(format)), quiet_(context.quiet()), tty_(is_terminal(1)), begin_(Clock::now()), last_(begin_ - std::chrono::hours(1)) {}
Progress::~Progress() {
  try {
    done();
  } catch (...) {
  }
}

void Progress::show(const std::string &status) {
  if (quiet_ || !tty_ || ended_ || status.empty()) return;
  // The last "{}" is the place: what stands before it may be a file's name, braces and all.
  auto text = format_;
  auto place = text.rfind("{}");
  if (place == std::string::npos)
    text = status;
  else
    text.replace(place, 2, status);
  auto width = static_cast<std::size_t>(std::max(0, terminal_size(1).first));
  if (width && text.size() > width) text.resize(width);
  std::string out = "\r" + text;
  if (text.size() < longest_) out += std::string(longest_ - text.size(), ' ');
  longest_ = std::max(longest_, text.size());
  print(out);
}

void Progress::bytes(std::int64_t moved, std::int64_t total) {
  auto now = Clock::now();
  if (quiet_ || !tty_ || now - last_ < std::chrono::milliseconds(200)) return;
  last_ = now;
  auto seconds = std::chrono::duration<double>(now - begin_).count();
  auto rate = seconds > 0 ? static_cast<double>(moved) / seconds : 0;
  auto speed = size_si(static_cast<std::int64_t>(rate), 2) + "/s";
  if (total <= 0) return show(fmt::format("{} ({})", size_si(moved), speed));
  auto left = rate > 0 ? static_cast<std::int64_t>(static_cast<double>(total - moved) / rate) : 0;
  auto time = left >= 3600 ? fmt::format("{}h{:02}m", left / 3600, left / 60 % 60)
              : left >= 60 ? fmt::format("{}m{:02}s", left / 60, left % 60)
                           : fmt::format("{}s", left);
  show(fmt::format("{}% ({}, {} left)", moved * 100 / total, speed, time));
}

void Progress::done(const std::string &text) {
  if (ended_) return;
  ended_ = true;
  auto shown = quiet_ ? std::string() : text;
  if (shown.empty() && longest_ == 0) return;
  std::string out;
  if (shown.size() <= longest_) out = "\r" + std::string(longest_, ' ');
  out += "\r";
  if (!shown.empty()) out += shown + "\n";
  print(out);
}

void copy_stream(int from, int to, Progress *progress, std::int64_t total) {
  std::vector<char> buffer(1 << 18);
  std::int64_t moved = 0;
  for (;;) {
    auto n = read(from, buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail("Reading failed: {}", strerror(errno));
    if (n == 0) return;
    for (ssize_t at = 0; at < n;) {
      auto w = write(to, buffer.data() + at, static_cast<std::size_t>(n - at));
      if (w < 0 && errno == EINTR) continue;
      if (w < 0) fail("Writing failed: {}", strerror(errno));
      at += w;
    }
    moved += n;
    if (progress) progress->bytes(moved, total);
  }
}

namespace {

volatile sig_atomic_t interrupts = 0;
void on_interrupt(int) { interrupts = interrupts + 1; }

/// Ctrl-C is noted while this lives.
class Interrupts {
public:
  Interrupts() {
    interrupts = 0;
    struct sigaction a {};
    a.sa_handler = on_interrupt;
    a.sa_flags = SA_RESTART;
    sigaction(SIGINT, &a, &before_);
  }
  ~Interrupts() { sigaction(SIGINT, &before_, nullptr); }

private:
  struct sigaction before_ {};
};

} // namespace

incus::OperationInfo wait_for(Context &context, const incus::Operation &operation, const std::string &format, const std::string &done) {
  Progress progress(context, format);
  bool shows = is_terminal(1) && !context.quiet();
  Interrupts noted;
  int heard = 0;
  incus::OperationInfo last;
  for (;;) {
    try {
      last = operation.wait_for(std::chrono::milliseconds(shows ? 200 : 1000));
      break;
    } catch (const incus::Error &e) {
      if (e.code() != incus::ErrorCode::timeout || operation.done()) throw;
    }
    if (interrupts > heard) {
      heard = interrupts;
      if (heard >= 3) fail("User signaled us three times, exiting. The remote operation will keep running");
      try {
        operation.cancel();
      } catch (const incus::Error &) {
        print_error(fmt::format("Operation can't be cancelled (interrupt {} more times to force)\n", 3 - heard));
      }
    }
    if (!shows) continue;
    auto metadata = metadata_of(operation.info());
    if (metadata.is_object())
      for (auto &e : metadata.get_object())
        if (std::string_view(e.key()).ends_with("_progress") && e.value().is_string()) {
          progress.show(std::string(e.value().get_string()));
          break;
        }
  }
  progress.done(done);
  return last;
}

json::value metadata_of(const incus::OperationInfo &info) { return parse_json(info.metadata.text, "the operation's metadata"); }

std::string resource_name(const incus::OperationInfo &info, const std::string &kind) {
  auto it = info.resources.find(kind);
  if (it == info.resources.end() || it->second.empty()) return {};
  auto path = it->second.front();
  path = path.substr(0, path.find('?'));
  return path.substr(path.rfind('/') + 1);
}

} // namespace cli
