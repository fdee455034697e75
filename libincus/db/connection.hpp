// SPDX-License-Identifier: Apache-2.0
// The store behind one small interface: SQLite today, the same SQL over another transport in a cluster.
#pragma once
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace incus::db {

using Value = std::variant<std::nullptr_t, std::int64_t, std::string>;

/// One result row; valid only during the callback.
class Row {
public:
  virtual std::int64_t number(int column) const = 0;
  virtual std::string text(int column) const = 0;
  virtual bool null(int column) const = 0;
  bool flag(int column) const { return number(column) != 0; }

protected:
  ~Row() = default;
};

/// Thread-safe: statements of one thread never interleave with a transaction of another. Throws incus::Error: no_space when
/// the disk is full (nothing of the transaction stays), permission_denied when read-only, corrupt, already_exists for a
/// unique constraint, internal otherwise.
/// What a statement of an administrator's own answered.
struct Answer {
  using Cell = std::variant<std::nullptr_t, std::int64_t, double, std::string>;
  bool select = false;             ///< it has columns
  std::vector<std::string> columns;
  std::vector<std::vector<Cell>> rows;
  std::int64_t changed = 0;        ///< rows it changed itself, without what followed by foreign keys
};

class Connection {
public:
  using RowFn = std::function<void(const Row &)>;
  virtual ~Connection() = default;

  /// Runs one statement; returns the number of rows it changed.
  std::int64_t exec(std::string_view sql, const std::vector<Value> &args = {}) { return run(sql, args, {}); }
  void query(std::string_view sql, const std::vector<Value> &args, const RowFn &row) { run(sql, args, row); }
  /// Several statements without arguments (schema steps).
  virtual void script(const char *sql) = 0;
  virtual std::int64_t last_id() = 0;
  /// An administrator's statements, separated by ';', each in a transaction of its own (or all in the caller's). Those that would change
  /// the connection and not the data (BEGIN, ATTACH, most PRAGMAs with a value) are refused.
  virtual std::vector<Answer> statements(std::string_view sql) = 0;
  /// Everything committed is in the store's main file when it returns.
  virtual void checkpoint() = 0;
  /// Commits what the closure did, or rolls it back when it throws. The closure may run twice and must do no host work.
  /// A transaction inside one joins it.
  virtual void transaction(const std::function<void()> &body) = 0;
  /// False: commits survive the death of the process, not of the machine. Used for intents about kernel state only.
  virtual void set_durable(bool on) = 0;

  /// Held by callers that need several statements to see one state without a transaction.
  std::recursive_mutex &mutex() { return mutex_; }

protected:
  virtual std::int64_t run(std::string_view sql, const std::vector<Value> &args, const RowFn &row) = 0;
  std::recursive_mutex mutex_;
};

/// Opens or makes a SQLite file (mode 0600, WAL, synchronous=FULL, foreign keys); empty path: in memory.
std::unique_ptr<Connection> open_sqlite(const std::string &path);

/// A numbered schema step.
struct Step {
  int number;
  const char *sql;
};

/// Brings the store to its newest step. Throws not_supported when the store is newer than this library.
void upgrade(Connection &c, const std::vector<Step> &steps, const std::string &what, int up_to = 0);
const std::vector<Step> &global_steps();
const std::vector<Step> &local_steps();

} // namespace incus::db
