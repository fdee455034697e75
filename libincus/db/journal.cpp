// SPDX-License-Identifier: Apache-2.0
#include "db/journal.hpp"

#include <boost/json.hpp>

#include "base/error.hpp"
#include "base/time.hpp"

namespace incus::db {

namespace json = boost::json;

namespace {
/// Commits that need not outlast the machine, up to the end of the scope: whatever else is stored in local.db is durable.
class Relaxed {
public:
  Relaxed(Connection &c, bool durable) : c_(c) { c_.set_durable(durable); }
  ~Relaxed() {
    try {
      c_.set_durable(true);
    } catch (const std::exception &) {
      // The next one says so.
    }
  }
  Relaxed(const Relaxed &) = delete;

private:
  Connection &c_;
};
} // namespace

int Journal::recover_all() {
  struct Left {
    std::int64_t id;
    std::string kind, data;
  };
  std::vector<Left> all;
  local_.query("SELECT id, kind, data FROM intents ORDER BY id DESC", {}, [&](const Row &r) { all.push_back({r.number(0), r.text(1), r.text(2)}); });
  int stayed = 0;
  for (auto &i : all) {
    try {
      auto it = recover_.find(i.kind);
      if (it == recover_.end()) base::fail(ErrorCode::internal, "no recovery is known for intents of kind {}", i.kind);
      it->second(json::parse(i.data).as_object());
      local_.exec("DELETE FROM intents WHERE id = ?", {i.id});
      log_.info("recovered an interrupted operation: {} {}", i.kind, i.data);
    } catch (const std::exception &e) {
      stayed++;
      log_.error("cannot recover an interrupted operation ({} {}): {}", i.kind, i.data, e.what());
    }
  }
  return stayed;
}

std::vector<std::string> Journal::pending() {
  std::vector<std::string> out;
  local_.query("SELECT kind, data FROM intents ORDER BY id", {}, [&](const Row &r) { out.push_back(r.text(0) + " " + r.text(1)); });
  return out;
}

Intent::Intent(Journal &journal, std::string kind, json::object data, bool durable)
    : journal_(journal), kind_(std::move(kind)), data_(std::move(data)) {
  auto &c = journal_.local_;
  std::lock_guard lock(c.mutex());
  Relaxed after(c, durable);
  c.exec("INSERT INTO intents (kind, data, created_at) VALUES (?, ?, ?)", {kind_, json::serialize(data_), base::format_time(base::now())});
  id_ = c.last_id();
}

void Intent::save() {
  auto &c = journal_.local_;
  std::lock_guard lock(c.mutex());
  c.exec("UPDATE intents SET data = ? WHERE id = ?", {json::serialize(data_), id_});
}

void Intent::done() {
  auto &c = journal_.local_;
  std::lock_guard lock(c.mutex());
  // Losing the removal of a finished intent is harmless: recovery finds it finished.
  Relaxed relaxed(c, false);
  c.exec("DELETE FROM intents WHERE id = ?", {id_});
  open_ = false;
}

Intent::~Intent() {
  if (!open_) return;
  try {
    auto it = journal_.recover_.find(kind_);
    if (it == journal_.recover_.end()) base::fail(ErrorCode::internal, "no recovery is known for intents of kind {}", kind_);
    it->second(data_);
    done();
  } catch (const std::exception &e) {
    journal_.log_.error("cannot undo {} {}: {}; the next open tries again", kind_, json::serialize(data_), e.what());
  }
}

} // namespace incus::db
