// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <fcntl.h>
#include <sqlite3.h>

#include "base/error.hpp"
#include "base/fd.hpp"
#include "base/time.hpp"
#include "db/connection.hpp"
#include "sys/fault.hpp"

#include <unordered_map>

namespace incus::db {

namespace {

ErrorCode code_of(int rc) {
  switch (rc & 0xff) {
  case SQLITE_FULL: return ErrorCode::no_space;
  case SQLITE_READONLY:
  case SQLITE_PERM:
  case SQLITE_CANTOPEN:
  case SQLITE_AUTH: return ErrorCode::permission_denied;
  case SQLITE_CORRUPT:
  case SQLITE_NOTADB: return ErrorCode::corrupt;
  case SQLITE_BUSY:
  case SQLITE_LOCKED: return ErrorCode::busy;
  default: break;
  }
  if (rc == SQLITE_CONSTRAINT_UNIQUE || rc == SQLITE_CONSTRAINT_PRIMARYKEY) return ErrorCode::already_exists;
  return ErrorCode::internal;
}

/// What statements from outside may do: anything to the data, nothing to the connection that the engine works with.
int authorize(void *, int action, const char *first, const char *second, const char *, const char *) {
  static constexpr const char *asking[] = {"table_info", "table_xinfo", "table_list", "index_info", "index_xinfo", "index_list", "foreign_key_list",
                                           "foreign_key_check", "foreign_keys", "integrity_check", "quick_check"};
  if (action == SQLITE_TRANSACTION || action == SQLITE_SAVEPOINT || action == SQLITE_ATTACH || action == SQLITE_DETACH) return SQLITE_DENY;
  if (action != SQLITE_PRAGMA || !second) return SQLITE_OK;
  return std::any_of(std::begin(asking), std::end(asking), [&](auto *a) { return sqlite3_stricmp(first, a) == 0; }) ? SQLITE_OK : SQLITE_DENY;
}

Answer::Cell cell(sqlite3_stmt *s, int c) {
  switch (sqlite3_column_type(s, c)) {
  case SQLITE_NULL: return nullptr;
  case SQLITE_INTEGER: return std::int64_t(sqlite3_column_int64(s, c));
  case SQLITE_FLOAT: return sqlite3_column_double(s, c);
  default: break;
  }
  auto *p = static_cast<const char *>(sqlite3_column_blob(s, c));
  return p ? std::string(p, static_cast<std::size_t>(sqlite3_column_bytes(s, c))) : std::string();
}

class SqliteRow final : public Row {
public:
  explicit SqliteRow(sqlite3_stmt *s) : s_(s) {}
  std::int64_t number(int c) const override { return sqlite3_column_int64(s_, c); }
  std::string text(int c) const override {
    auto *p = reinterpret_cast<const char *>(sqlite3_column_text(s_, c));
    return p ? std::string(p, static_cast<std::size_t>(sqlite3_column_bytes(s_, c))) : std::string();
  }
  bool null(int c) const override { return sqlite3_column_type(s_, c) == SQLITE_NULL; }

private:
  sqlite3_stmt *s_;
};

class Sqlite final : public Connection {
public:
  explicit Sqlite(const std::string &path) : path_(path.empty() ? ":memory:" : path) {
    // SQLite makes files readable for all; the store is root's alone.
    if (!path.empty()) base::Fd made(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
    int rc = sqlite3_open_v2(path_.c_str(), &db_, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, nullptr);
    if (rc != SQLITE_OK) {
      std::string why = db_ ? sqlite3_errmsg(db_) : sqlite3_errstr(rc);
      sqlite3_close(db_);
      base::fail(code_of(rc), "cannot open the store {}: {}", path_, why);
    }
    sqlite3_busy_timeout(db_, 5000);
    try {
      if (!path.empty()) script("PRAGMA journal_mode=WAL");
      script("PRAGMA foreign_keys=ON; PRAGMA synchronous=FULL; PRAGMA temp_store=MEMORY; PRAGMA cache_size=-2048");
    } catch (...) {
      close();
      throw;
    }
  }
  ~Sqlite() override { close(); }

  void script(const char *sql) override {
    std::lock_guard lock(mutex_);
    char *msg = nullptr;
    int rc = sqlite3_exec(db_, sql, nullptr, nullptr, &msg);
    std::string why = msg ? msg : "";
    sqlite3_free(msg);
    if (rc != SQLITE_OK) fail(rc, why);
  }

  std::int64_t last_id() override { return sqlite3_last_insert_rowid(db_); }

  std::vector<Answer> statements(std::string_view sql) override {
    std::lock_guard lock(mutex_);
    if (sql.find('\0') != sql.npos) base::fail(ErrorCode::invalid_argument, "SQL text must not hold NUL characters");
    std::vector<Answer> out;
    while (!sql.empty()) {
      Answer a;
      std::size_t used = 0;
      bool any = false;
      transaction([&] {
        a = {};
        any = one_statement(sql, used, a);
      });
      if (any) out.push_back(std::move(a));
      sql.remove_prefix(used);
    }
    return out;
  }

  void checkpoint() override {
    std::lock_guard lock(mutex_);
    sys::FaultScope fault("checkpoint");
    script("PRAGMA wal_checkpoint(TRUNCATE)");
  }

  void set_durable(bool on) override {
    std::lock_guard lock(mutex_);
    if (depth_ == 0 && on != durable_) {
      script(on ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=NORMAL");
      durable_ = on;
    }
  }

  void transaction(const std::function<void()> &body) override {
    std::lock_guard lock(mutex_);
    if (depth_ > 0) {
      body();
      return;
    }
    script("BEGIN IMMEDIATE");
    depth_ = 1;
    try {
      body();
      depth_ = 0;
      sys::fault_point("commit");
      script("COMMIT");
    } catch (...) {
      depth_ = 0;
      // A failed COMMIT (full disk) leaves the transaction open; some errors have rolled it back already.
      if (!sqlite3_get_autocommit(db_)) sqlite3_exec(db_, "ROLLBACK", nullptr, nullptr, nullptr);
      throw;
    }
    sys::fault_point("commit");
  }

protected:
  std::int64_t run(std::string_view sql, const std::vector<Value> &args, const RowFn &row) override {
    std::lock_guard lock(mutex_);
    Use use(*this, sql);
    sqlite3_stmt *s = use.stmt;
    for (std::size_t i = 0; i < args.size(); i++) {
      int n = static_cast<int>(i) + 1, rc;
      if (auto *v = std::get_if<std::int64_t>(&args[i]))
        rc = sqlite3_bind_int64(s, n, *v);
      else if (auto *t = std::get_if<std::string>(&args[i]))
        rc = sqlite3_bind_text(s, n, t->data(), static_cast<int>(t->size()), SQLITE_STATIC);
      else
        rc = sqlite3_bind_null(s, n);
      if (rc != SQLITE_OK) fail(rc, sqlite3_errmsg(db_));
    }
    SqliteRow r(s);
    bool writes = depth_ == 0 && !sqlite3_stmt_readonly(s);
    if (writes) sys::fault_point("statement");
    for (;;) {
      int rc = sqlite3_step(s);
      if (rc == SQLITE_DONE) break;
      if (rc != SQLITE_ROW) fail(rc, sqlite3_errmsg(db_));
      if (row) row(r);
    }
    if (writes) sys::fault_point("statement");
    return sqlite3_changes64(db_);
  }

private:
  // A cached statement in use; a nested use of the same text gets one of its own.
  struct Use {
    Use(Sqlite &c, std::string_view sql) : conn(c) {
      auto it = c.cache_.find(std::string(sql));
      if (it != c.cache_.end()) {
        stmt = it->second;
        key = it->first;
        c.cache_.erase(it);
        return;
      }
      key = sql;
      int rc = sqlite3_prepare_v3(c.db_, sql.data(), static_cast<int>(sql.size()), SQLITE_PREPARE_PERSISTENT, &stmt, nullptr);
      if (rc != SQLITE_OK) c.fail(rc, sqlite3_errmsg(c.db_));
    }
    ~Use() {
      sqlite3_reset(stmt);
      sqlite3_clear_bindings(stmt);
      if (conn.cache_.size() >= 128 || !conn.cache_.emplace(std::move(key), stmt).second) sqlite3_finalize(stmt);
    }
    Use(const Use &) = delete;
    Sqlite &conn;
    std::string key;
    sqlite3_stmt *stmt = nullptr;
  };

  /// Runs the first statement; `used` is where SQLite saw its end. False for white space and comments.
  bool one_statement(std::string_view sql, std::size_t &used, Answer &a) {
    struct Statement {
      sqlite3_stmt *s = nullptr;
      ~Statement() { sqlite3_finalize(s); }
    } st;
    const char *tail = nullptr;
    sqlite3_set_authorizer(db_, authorize, nullptr);
    int rc = sqlite3_prepare_v2(db_, sql.data(), static_cast<int>(sql.size()), &st.s, &tail);
    sqlite3_set_authorizer(db_, nullptr, nullptr);
    auto refuse = [&](int code) {
      std::string why = code == SQLITE_AUTH ? "transactions, attached stores and settings of the connection are not for statements from outside" : sqlite3_errmsg(db_);
      base::fail((code & 0xff) == SQLITE_ERROR ? ErrorCode::invalid_argument : code_of(code), "store {}: {}", path_, why);
    };
    if (rc != SQLITE_OK) refuse(rc);
    used = static_cast<std::size_t>(tail - sql.data());
    if (!st.s) return false;
    int columns = sqlite3_column_count(st.s);
    a.select = columns > 0;
    for (int c = 0; c < columns; c++) a.columns.emplace_back(sqlite3_column_name(st.s, c));
    auto before = sqlite3_total_changes64(db_);
    while ((rc = sqlite3_step(st.s)) == SQLITE_ROW) {
      auto &row = a.rows.emplace_back();
      for (int c = 0; c < columns; c++) row.push_back(cell(st.s, c));
    }
    if (rc != SQLITE_DONE) refuse(rc);
    if (sqlite3_total_changes64(db_) != before) a.changed = sqlite3_changes64(db_);
    return true;
  }

  [[noreturn]] void fail(int rc, const std::string &why) const { base::fail(code_of(rc), "store {}: {}", path_, why); }

  void close() {
    for (auto &[k, s] : cache_) sqlite3_finalize(s);
    cache_.clear();
    sqlite3_close(db_);
    db_ = nullptr;
  }

  std::string path_;
  sqlite3 *db_ = nullptr;
  std::unordered_map<std::string, sqlite3_stmt *> cache_;
  int depth_ = 0;
  bool durable_ = true;
};

} // namespace

std::unique_ptr<Connection> open_sqlite(const std::string &path) { return std::make_unique<Sqlite>(path); }

void upgrade(Connection &c, const std::vector<Step> &steps, const std::string &what, int up_to) {
  std::int64_t have = 0;
  bool exists = false;
  c.query("SELECT count(*) FROM sqlite_master WHERE type='table' AND name='schema'", {}, [&](const Row &r) { exists = r.flag(0); });
  if (exists) c.query("SELECT coalesce(max(version), 0) FROM schema", {}, [&](const Row &r) { have = r.number(0); });
  int newest = steps.back().number;
  if (have > newest)
    base::fail(ErrorCode::not_supported, "{} has schema {}, this library knows {} at most: open it with the version that wrote it, or a newer one", what, have, newest);
  if (up_to == 0) up_to = newest;
  if (have >= up_to) return;
  c.transaction([&] {
    for (auto &s : steps) {
      if (s.number <= have || s.number > up_to) continue;
      c.script(s.sql);
      c.exec("INSERT INTO schema (version, updated_at) VALUES (?, ?)", {std::int64_t(s.number), base::format_time(base::now())});
    }
  });
}

} // namespace incus::db
