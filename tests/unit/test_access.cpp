// SPDX-License-Identifier: Apache-2.0
// Who may call what, and what a restricted caller sees: every row is tried by a client of project "a" on what is in "b".
#include <algorithm>
#include <boost/json.hpp>
#include <doctest/doctest.h>
#include <incus/host.hpp>
#include <unistd.h>

#include "api/access.hpp"
#include "api/door.hpp"
#include "base/error.hpp"

using namespace incus;
namespace json = boost::json;
using api::Access;
using api::Caller;

namespace {

std::shared_ptr<const Caller> caller(Caller::Kind kind, std::vector<std::string> projects = {}, bool restricted = false) {
  auto c = std::make_shared<Caller>();
  c->kind = kind;
  c->name = kind == Caller::Kind::local ? "root" : std::string(64, 'a');
  c->projects = std::move(projects);
  c->restricted = restricted;
  c->uid = kind == Caller::Kind::local ? 0 : -1;
  return c;
}

ErrorCode gate(const api::Row &row, std::shared_ptr<const Caller> who, std::map<std::string, std::string> query = {}, json::value body = nullptr, bool open = false) {
  api::Request q;
  q.caller = std::move(who);
  q.query = std::move(query);
  q.body = std::move(body);
  try {
    api::authorize(row, q, open);
  } catch (const Error &e) {
    return e.code();
  }
  return ErrorCode{};
}

constexpr auto ok = ErrorCode{};
constexpr auto no = ErrorCode::forbidden;

} // namespace

TEST_CASE("access: every row by every kind of caller") {
  for (auto &r : api::rows()) {
    auto what = std::string(r.method) + " " + r.path;
    CAPTURE(what);
    CHECK(gate(r, nullptr) == ok);
    CHECK(gate(r, caller(Caller::Kind::local)) == ok);
    CHECK(gate(r, caller(Caller::Kind::trusted)) == (r.access == Access::local ? no : ok));
    auto mine = gate(r, caller(Caller::Kind::trusted, {"a"}, true), {{"project", "a"}});
    CHECK(mine == (r.access == Access::local || r.access == Access::admin ? no : ok));
    auto metrics = gate(r, caller(Caller::Kind::metrics));
    CHECK(metrics == (r.access == Access::anyone || r.access == Access::metrics ? ok : no));
    CHECK(gate(r, caller(Caller::Kind::unknown)) == (r.access == Access::anyone ? ok : no));
    CHECK(gate(r, caller(Caller::Kind::unknown), {}, nullptr, true) == (r.access == Access::anyone || r.access == Access::metrics ? ok : no));
    // Another project, named or by default, and one that does not exist: the same answer.
    if (r.access == Access::project) {
      for (auto *p : {"b", "default", "nix"}) CHECK(gate(r, caller(Caller::Kind::trusted, {"a"}, true), {{"project", p}}) == no);
      CHECK(gate(r, caller(Caller::Kind::trusted, {"a"}, true)) == no);
      CHECK(gate(r, caller(Caller::Kind::trusted, {"a"}, true), {{"project", "a"}}, {{"project", "b"}}) == no);
      CHECK(gate(r, caller(Caller::Kind::trusted, {"a"}, true), {{"project", "a"}}, {{"source", {{"project", "b"}}}}) == no);
    }
  }
}

TEST_CASE("access: who expects to be known is told when it is not") {
  api::Request q;
  q.caller = caller(Caller::Kind::unknown);
  CHECK_NOTHROW(api::authorize(api::row(api::RowId::server_get), q));
  q.headers["x-incus-authenticated"] = "true";
  CHECK_THROWS_AS(api::authorize(api::row(api::RowId::server_get), q), Error);
}

TEST_CASE("access: links and events of other projects") {
  api::Request q;
  q.caller = caller(Caller::Kind::trusted, {"a"}, true);
  std::vector<std::string> urls{"/1.0/instances/c1", "/1.0/instances/c2?project=a", "/1.0/instances/c3?project=b", "/1.0/instances/c4?project=ab&target=x"};
  auto all = urls;
  api::filter_used_by(q, urls);
  CHECK(urls == std::vector<std::string>{"/1.0/instances/c2?project=a"});
  q.caller = caller(Caller::Kind::trusted);
  auto kept = all;
  api::filter_used_by(q, kept);
  CHECK(kept == all);
  Event e;
  e.type = "lifecycle";
  auto a = caller(Caller::Kind::trusted, {"a"}, true);
  e.project = "b";
  CHECK_FALSE(api::may_see(a.get(), e));
  CHECK(api::may_see(nullptr, e));
  e.project = "";
  CHECK_FALSE(api::may_see(a.get(), e));
  e.project = "a";
  CHECK(api::may_see(a.get(), e));
  CHECK_FALSE(api::may_see(caller(Caller::Kind::unknown).get(), e));
  e.type = "operation";
  e.metadata.text = R"({"class":"token"})";
  CHECK_FALSE(api::may_see(a.get(), e));
  CHECK(api::may_see(caller(Caller::Kind::local).get(), e));
}

TEST_CASE("access: same callers") {
  auto local = caller(Caller::Kind::local), trusted = caller(Caller::Kind::trusted), unknown = caller(Caller::Kind::unknown);
  CHECK(api::same_caller(nullptr, nullptr));
  CHECK_FALSE(api::same_caller(nullptr, local.get()));
  CHECK(api::same_caller(trusted.get(), caller(Caller::Kind::trusted).get()));
  CHECK_FALSE(api::same_caller(trusted.get(), local.get()));
  auto other = std::make_shared<Caller>(*trusted);
  other->name[0] = 'b';
  CHECK_FALSE(api::same_caller(trusted.get(), other.get()));
  auto nobody = std::make_shared<Caller>(*unknown);
  nobody->name.clear();
  CHECK_FALSE(api::same_caller(nobody.get(), nobody.get()));
}

/// Two tenants: everything there is a name for is made in "b" (and in "default") with a word in it that must never reach a client of "a".
TEST_CASE("access: a client of one project gets nothing of another through any row") {
  auto host = Host::open("test://");
  auto ask = [&](const std::string &method, const std::string &path, const json::value &body = nullptr) {
    return host.request(method, path, body.is_null() ? "" : json::serialize(body));
  };
  for (auto *p : {"a", "secretb"}) ask("POST", "/1.0/projects", {{"name", p}, {"description", p}});
  bool have_pool = false;
  for (auto &p : host.storage_pools()) have_pool |= p.name == "default";
  if (!have_pool) {
    StoragePoolCreate p;
    p.name = "default";
    p.driver = "dir";
    host.create_storage_pool(p);
  }
  for (auto *p : {"secretb", "default"}) {
    InstanceCreate r;
    r.name = "secret1";
    r.source.type = "none";
    r.description = "secret";
    r.config = {{"user.x", "secret"}};
    r.devices = {{"root", {{"type", "disk"}, {"path", "/"}, {"pool", "default"}}}};
    auto op = host.create_instance(r, p);
    op.wait();
    auto snap = ask("POST", std::string("/1.0/instances/secret1/snapshots?project=") + p, {{"name", "secrets"}});
    ask("GET", "/1.0/operations/" + std::string(json::parse(snap).at("id").as_string()) + "/wait?timeout=20");
    ask("POST", std::string("/1.0/profiles?project=") + p, {{"name", "secretp"}, {"description", "secret"}});
  }
  ask("PATCH", "/1.0", {{"config", {{"user.secret", "secret"}}}});

  auto who = caller(Caller::Kind::trusted, {"a"}, true);
  int answered = 0, refused = 0;
  for (auto &r : api::rows()) {
    // Rows that wait, or end the host.
    if (r.id == api::RowId::events_get || r.id == api::RowId::instance_ready_get || r.id == api::RowId::internal_shutdown_put) continue;
    std::string path = r.path;
    std::size_t holes = static_cast<std::size_t>(std::count(path.begin(), path.end(), '{'));
    for (auto &query : std::vector<std::map<std::string, std::string>>{{}, {{"project", "a"}}, {{"project", "secretb"}}, {{"all-projects", "true"}}}) {
      for (auto *level : {"0", "1", "2"}) {
        api::Request q;
        q.caller = who;
        q.query = query;
        q.query["recursion"] = level;
        if (r.method != std::string_view("GET")) q.body = json::object{};
        std::vector<std::string> names;
        // The first name is an object of the row's kind, the others what is in it.
        bool project = path.starts_with("/1.0/projects/"), profile = path.starts_with("/1.0/profiles/"), pool = path.starts_with("/1.0/storage-pools/");
        for (std::size_t i = 0; i < holes; i++) names.push_back(i > 0 ? (pool && i == 1 ? "container" : "secrets") : project ? "secretb" : profile ? "secretp" : pool ? "default" : "secret1");
        if (pool && holes == 3) names[2] = "secretb_secret1";
        q.path = names;
        auto what = std::string(r.method) + " " + r.path + " recursion=" + level;
        for (auto &[k, v] : query) what += " " + k + "=" + v;
        CAPTURE(what);
        try {
          api::authorize(r, q);
          auto reply = host.session()->perform(r.id, std::move(q));
          if (reply.operation) reply.operation->wait(std::chrono::seconds(20));
          auto text = json::serialize(reply.metadata) + (reply.operation ? reply.operation->info().metadata.text : "");
          for (auto &b : reply.bodies) {
            char buffer[65536];
            for (ssize_t n; (n = ::read(b.fd.get(), buffer, sizeof buffer)) > 0;) text.append(buffer, static_cast<std::size_t>(n));
          }
          CHECK(text.find("secret") == std::string::npos);
          answered++;
        } catch (const Error &e) {
          // Only what the client itself said may come back, and not that it exists.
          CHECK(e.code() != ErrorCode::conflict);
          CHECK(e.code() != ErrorCode::internal);
          refused++;
        }
      }
    }
  }
  CHECK(answered > 30);
  CHECK(refused > 100);
  // Nothing was changed by it.
  CHECK(json::parse(ask("GET", "/1.0/instances/secret1?project=secretb")).at("description") == "secret");
  CHECK(json::parse(ask("GET", "/1.0/instances/secret1")).at("description") == "secret");
  CHECK(json::parse(ask("GET", "/1.0/projects/secretb")).at("description") == "secretb");
}
