// SPDX-License-Identifier: Apache-2.0
// Secrets that open one image to who has nothing else: each for one transfer.
#pragma once
#include <chrono>
#include <boost/json/object.hpp>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>

namespace incus::embed {

class Operations;
class TaskOperation;
struct OperationSpec;

class ImageSecrets {
public:
  using Clock = std::chrono::steady_clock;
  /// A client asks for the record before it asks for the files, so a use opens a short time.
  static constexpr auto transfer = std::chrono::seconds(5);
  static constexpr auto lifetime = std::chrono::hours(1);

  /// `key`: a digest of the secret, so that looking one up tells nothing by its time. `used` is called once, at the first use or the end.
  /// `wishes`: what is kept with it, for who asks at its use.
  void add(const std::string &key, std::string project, std::string fingerprint, std::function<void()> used,
           std::shared_ptr<const boost::json::object> wishes = {}) {
    std::lock_guard lock(mutex_);
    all_[key] = {std::move(project), std::move(fingerprint), Clock::now() + lifetime, std::move(used), std::move(wishes)};
  }

  /// Whether use() would say yes; changes nothing.
  bool knows(const std::string &key, const std::string &project, const std::string &fingerprint) {
    std::lock_guard lock(mutex_);
    auto it = all_.find(key);
    return it != all_.end() && Clock::now() < it->second.end && it->second.project == project && it->second.fingerprint == fingerprint;
  }

  bool use(const std::string &key, const std::string &project, const std::string &fingerprint, std::shared_ptr<const boost::json::object> *wishes = nullptr) {
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
        if (wishes) *wishes = it->second.wishes;
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
    std::shared_ptr<const boost::json::object> wishes;
  };
  std::mutex mutex_;
  std::map<std::string, Secret> all_;
};

/// An operation of class token that shows a new secret for an image of its project, and lasts until that is used, taken back or has run out.
std::shared_ptr<TaskOperation> hold_secret(Operations &operations, ImageSecrets &secrets, OperationSpec spec, const std::string &fingerprint,
                                           std::shared_ptr<const boost::json::object> wishes = {});

} // namespace incus::embed
