// SPDX-License-Identifier: Apache-2.0
// A running incus-unpack.
#pragma once
#include <string>
#include <vector>

#include "base/fd.hpp"
#include "helper/protocol.hpp"
#include "image/image.hpp"
#include "sys/process.hpp"

namespace incus::image {

using Progress = std::function<void(std::uint64_t, std::uint64_t)>;

/// One request to one helper. The destructor ends the helper if it still runs, and returns only when nothing of it can write any more.
class Job {
public:
  Job(const std::string &helper, std::uint32_t op, std::vector<std::string> args, std::vector<int> fds);
  ~Job();
  Job(const Job &) = delete;
  Job &operator=(const Job &) = delete;
  /// Handles what has come, without waiting; throws the helper's error.
  void poll(const Progress &progress);
  /// Until the helper is done; returns the arguments of its last message.
  std::vector<std::string> finish(const Progress &progress);
  /// Pieces that came so far.
  const std::string &data() const { return data_; }

private:
  bool take(const Progress &progress);
  void gone();

  std::string name_;
  sys::Child child_;
  base::Fd sock_, life_;
  std::string data_, words_;
  std::vector<std::string> result_;
  bool done_ = false;
};

} // namespace incus::image
