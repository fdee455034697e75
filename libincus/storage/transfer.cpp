// SPDX-License-Identifier: Apache-2.0
#include "storage/transfer.hpp"

#include <algorithm>
#include <chrono>
#include <map>
#include <thread>

#include "base/error.hpp"
#include "base/names.hpp"

namespace incus::storage {

SnapshotOps &snapshots_of(const Place &place) {
  auto *ops = place.driver->snapshots();
  if (!ops) base::fail(ErrorCode::not_supported, "the storage pool of volume {} has no snapshots", base::quoted(place.volume.name));
  return *ops;
}

Progress paced(const Progress &progress, std::uint64_t rate) {
  if (rate == 0) return progress;
  using Clock = std::chrono::steady_clock;
  return [progress, rate, begin = Clock::now()](std::uint64_t done, std::uint64_t total) {
    auto due = begin + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(static_cast<double>(done) / static_cast<double>(rate)));
    for (;;) {
      if (progress) progress(done, total); // throws when it is cancelled
      auto now = Clock::now();
      if (now >= due) return;
      std::this_thread::sleep_for(std::min<Clock::duration>(due - now, std::chrono::milliseconds(100)));
    }
  };
}

void copy_volume(const Place &to, const Place &from, const std::optional<std::string> &snapshot, const Progress &progress, const Since &since) {
  if (to.driver == from.driver) return to.driver->create_copy(to.volume, from.volume, snapshot, progress);
  auto slowly = paced(progress, from.rate);
  if (auto *streams = to.driver->replication(); streams && streams->create(to.volume, *from.driver, from.volume, snapshot, since, slowly)) return;
  auto content = from.driver->open_content(from.volume, snapshot);
  to.driver->create_from_content(to.volume, *content, slowly);
}

void copy_snapshot(const Place &to, const Place &from, const std::string &snapshot, const Progress &progress, const Since &since) {
  if (to.driver == from.driver) return snapshots_of(to).copy(to.volume, from.volume, snapshot, progress);
  auto slowly = paced(progress, from.rate);
  if (auto *streams = to.driver->replication(); streams && streams->create_snapshot(to.volume, snapshot, *from.driver, from.volume, since, slowly)) return;
  auto content = from.driver->open_content(from.volume, snapshot);
  snapshots_of(to).create_from_content(to.volume, snapshot, *content, slowly);
}

void prepare_refresh(const Place &to, const Place &from, const std::optional<std::string> &snapshot, const Progress &progress, const Since &since) {
  auto &ops = snapshots_of(to);
  if (to.driver == from.driver) return ops.refresh_prepare(to.volume, from.volume, snapshot, progress);
  auto slowly = paced(progress, from.rate);
  if (auto *streams = to.driver->replication(); streams && streams->refresh_prepare(to.volume, *from.driver, from.volume, snapshot, since, slowly)) return;
  auto content = from.driver->open_content(from.volume, snapshot);
  ops.refresh_prepare(to.volume, *content, slowly);
}

void copy_with_snapshots(const Place &to, const Place &from, const std::vector<std::string> &snapshots, const Progress &progress) {
  // Streams tell of each what came after the one before, of the volume what came last.
  bool chain = to.driver != from.driver && to.driver->replication() && from.driver->replication();
  if (!chain) copy_volume(to, from, {}, progress);
  Since since;
  for (auto &name : snapshots) {
    copy_snapshot(to, from, name, progress, since);
    since = name;
  }
  if (chain) copy_volume(to, from, {}, progress, since);
}

SnapshotChanges compare_snapshots(const std::vector<SnapshotMark> &source, const std::vector<SnapshotMark> &target, bool exclude_older) {
  std::map<std::string, Time> here, there;
  for (auto &s : source) there[s.name] = s.created_at;
  SnapshotChanges out;
  Time newest{};
  for (auto &s : target) {
    here[s.name] = s.created_at;
    auto it = there.find(s.name);
    if (it == there.end() || it->second != s.created_at)
      out.remove.push_back(s.name);
    else
      newest = std::max(newest, s.created_at);
  }
  for (auto &s : source) {
    auto it = here.find(s.name);
    bool wanted = it == here.end() ? !exclude_older || s.created_at > newest : it->second != s.created_at;
    if (wanted) out.copy.push_back(s.name);
  }
  return out;
}

} // namespace incus::storage
