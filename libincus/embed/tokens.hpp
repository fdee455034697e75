// SPDX-License-Identifier: Apache-2.0
// Trust tokens that were given out: each is good once.
#pragma once
#include <boost/json/value.hpp>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include <incus/types.hpp>

namespace incus::embed {

class TaskOperation;

class Tokens {
public:
  struct Token {
    std::shared_ptr<TaskOperation> operation; ///< what lists it
    boost::json::value request;               ///< the CertificateCreate that it stands for
    std::optional<Time> expires;
  };

  /// `key`: a digest of the secret, so that looking one up tells nothing by its time.
  void add(const std::string &key, Token t) {
    std::lock_guard lock(mutex_);
    all_[key] = std::move(t);
  }
  /// Takes it out: the second caller gets nothing.
  std::optional<Token> take(const std::string &key) {
    std::lock_guard lock(mutex_);
    auto it = all_.find(key);
    if (it == all_.end()) return std::nullopt;
    auto out = std::move(it->second);
    all_.erase(it);
    return out;
  }
  /// Takes out what is past its time.
  std::vector<Token> expired(Time now) {
    std::vector<Token> out;
    std::lock_guard lock(mutex_);
    for (auto it = all_.begin(); it != all_.end();) {
      if (it->second.expires && *it->second.expires < now) {
        out.push_back(std::move(it->second));
        it = all_.erase(it);
      } else {
        ++it;
      }
    }
    return out;
  }

private:
  std::mutex mutex_;
  std::map<std::string, Token> all_;
};

} // namespace incus::embed
