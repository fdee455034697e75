// SPDX-License-Identifier: Apache-2.0
// Secrets that open one image to who has nothing else: each for one transfer.
#pragma once
#include <chrono>
#include <functional>
#include <map>
#include <mutex>
#include <string>

namespace incus::embed {

class ImageSecrets {
public:
  using Clock = std::chrono::steady_clock;
  /// A client asks for the record before it asks for the files, so a use opens a short time.
  static constexpr auto transfer = std::chrono::seconds(5);
  static constexpr auto lifetime = std::chrono::hours(1);

  /// `key`: a digest of the secret, so that looking one up tells nothing by its time. `used` is called once, at the first use or the end.
  void add(const std::string &key, std::string project, std::string fingerprint, std::function<void()> used) {
    std::lock_guard lock(mutex_);
    all_[key] = {std::move(project), std::move(fingerprint), Clock::now() + lifetime, std::move(used)};
  }

  bool use(const std::string &key, const std::string &project, const std::string &fingerprint) {
    auto now = Clock::now();
    std::vector<std::function<void()>> ended;
    bool good = false;
    {
      std::lock_guard lock(mutex_);
      for (auto it = all_.begin(); it != all_.end();) {
        if (now < it->second.end) {
          ++it;
          continue;
        }
        if (it->second.used) ended.push_back(std::move(it->second.used));
        it = all_.erase(it);
      }
      auto it = all_.find(key);
      if (it != all_.end() && it->second.project == project && it->second.fingerprint == fingerprint) {
        good = true;
        if (it->second.used) {
          ended.push_back(std::move(it->second.used));
          it->second.used = {};
          it->second.end = now + transfer;
        }
      }
    }
    for (auto &tell : ended) tell();
    return good;
  }

  /// Takes it back; false when it was not there.
  bool drop(const std::string &key) {
    std::lock_guard lock(mutex_);
    return all_.erase(key) != 0;
  }

private:
  struct Secret {
    std::string project, fingerprint;
    Clock::time_point end;
    std::function<void()> used;
  };
  std::mutex mutex_;
  std::map<std::string, Secret> all_;
};

} // namespace incus::embed
