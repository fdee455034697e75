// SPDX-License-Identifier: Apache-2.0
// Every row of the API, asked for by clients of every kind: nobody, a certificate for metrics, a tenant that aims at what another one owns, an
// administrator over the network, the socket. A row that is not decided on here fails.
#include <algorithm>
#include <map>
#include <set>

#include "api/rows.hpp"
#include "raw_client.hpp"
#include "trust_room.hpp"

using namespace trust_room;
using api::Access;

namespace {

/// What was decided for a row, apart from what its table says of itself.
struct Decision {
  const char *method, *path;
  Access who;
  /// To nobody in particular, of a row for anyone: the status of the answer for what is there and not public.
  int to_unknown = 403;
  /// Bodies that aim at what another tenant has; words in braces stand for its names, or for names that nobody has.
  std::vector<std::string> bodies = {};
  /// Bodies for what the tenant has itself, which aim at others by what they say.
  std::vector<std::string> bodies_to_own = {};
  /// Names of others do not stand in the path alone, and an answer is no failure: lists, what everybody may see, what is made under a name that another
  /// project has. Removed again by DELETE of this path.
  bool may_succeed = false;
  const char *undo = nullptr;
};

const char *root_device = R"("devices":{"root":{"type":"disk","path":"/","pool":"pool"}})";

std::vector<Decision> decisions() {
  using A = Access;
  auto with_root = [](std::string t) { return t.insert(t.size() - 1, std::string(",") + root_device); };
  const std::vector<std::string> change{"{\"description\":\"taken over\"}"}, rename{"{\"name\":\"taken-over\"}"};
  const std::string pools = "/1.0/storage-pools/{name}", volumes = pools + "/volumes", volume = volumes + "/{type}/{volume}";
  // What is built from pieces is kept somewhere.
  static std::set<std::string> kept;
  auto path = [](const std::string &t) { return kept.insert(t).first->c_str(); };
  return {
      {"GET", "/1.0", A::anyone, 200, {}, {}, true},
      {"GET", "/", A::anyone, 200, {}, {}, true},
      {"PUT", "/1.0", A::admin, 403, {R"({"config":{"core.trust_password":"x"}})"}},
      {"PATCH", "/1.0", A::admin, 403, {R"({"config":{"core.metrics_authentication":"false"}})"}},
      {"GET", "/1.0/events", A::trusted},
      {"GET", "/1.0/resources", A::trusted, 403, {}, {}, true},
      {"GET", "/1.0/metrics", A::metrics, 403, {}, {}, true},
      {"GET", "/1.0/metadata/configuration", A::anyone, 200, {}, {}, true},
      {"GET", "/1.0/certificates", A::trusted, 403, {}, {}, true},
      {"POST", "/1.0/certificates", A::anyone, 403,
       {R"({"type":"client","name":"evil","certificate":"{certificate}"})", R"({"type":"client","name":"evil","token":true})", R"({"type":"client","trust_token":"{id}"})",
        R"({"type":"client","name":"evil","restricted":true,"projects":["{project}"],"token":true})"}},
      {"GET", "/1.0/certificates/{fingerprint}", A::trusted},
      {"PUT", "/1.0/certificates/{fingerprint}", A::trusted, 403, {R"({"name":"x","type":"client","restricted":false,"projects":[]})"}, {R"({"name":"me","type":"client","restricted":true,"projects":["mine","{project}"]})"}},
      {"PATCH", "/1.0/certificates/{fingerprint}", A::trusted, 403, {R"({"restricted":false})"}, {R"({"projects":["mine","{project}"]})", R"({"restricted":false})", R"({"type":"metrics"})"}},
      {"DELETE", "/1.0/certificates/{fingerprint}", A::trusted},
      {"GET", "/1.0/warnings", A::admin},
      {"GET", "/1.0/warnings/{uuid}", A::admin},
      {"PUT", "/1.0/warnings/{uuid}", A::admin, 403, {R"({"status":"acknowledged"})"}},
      {"PATCH", "/1.0/warnings/{uuid}", A::admin, 403, {R"({"status":"acknowledged"})"}},
      {"DELETE", "/1.0/warnings/{uuid}", A::admin},
      {"GET", "/1.0/networks", A::project, 403, {}, {}, true},
      {"GET", "/1.0/networks/{name}", A::project, 403, {}, {}, true},
      {"GET", "/1.0/networks/{name}/state", A::project, 403, {}, {}, true},
      {"GET", "/1.0/instances", A::project, 403, {}, {}, true},
      {"POST", "/1.0/instances", A::project, 403,
       {R"({"name":"c1","source":{"type":"copy","source":"{instance}","project":"{project}"}})", R"({"name":"c1","source":{"type":"copy","source":"{instance}"}})",
        R"({"name":"c1","source":{"type":"copy","source":"{instance}/{snapshot}","project":"{project}"}})",
        R"({"name":"c1","project":"{project}","source":{"type":"none"}})", with_root(R"({"name":"c1","source":{"type":"image","fingerprint":"{fingerprint}"}})"),
        with_root(R"({"name":"c1","source":{"type":"image","alias":"{alias}"}})"), with_root(R"({"name":"c1","source":{"type":"image","alias":"{alias}","project":"{project}"}})"),
        with_root(R"({"name":"c1","source":{"type":"image","fingerprint":"{fingerprint}","project":"{project}"}})"),
        with_root(R"({"name":"c1","source":{"type":"none"},"profiles":["{profile}"]})"),
        R"({"name":"c1","source":{"type":"none"},"devices":{"root":{"type":"disk","path":"/","pool":"pool"},"v":{"type":"disk","pool":"pool","source":"{volume}","path":"/v"}}})"}},
      {"PUT", "/1.0/instances", A::project, 403, {R"({"state":{"action":"stop","force":true}})"}, {}, true},
      {"GET", "/1.0/instances/{name}", A::project},
      {"PUT", "/1.0/instances/{name}", A::project, 403, {R"({"config":{"user.x":"taken over"},"profiles":[]})"}, {R"({"restore":"{snapshot}"})", R"({"profiles":["{profile}"]})"}},
      {"PATCH", "/1.0/instances/{name}", A::project, 403, {R"({"config":{"user.x":"taken over"}})"},
       {R"({"profiles":["{profile}"]})", R"({"devices":{"v":{"type":"disk","pool":"pool","source":"{volume}","path":"/v"}}})"}},
      {"POST", "/1.0/instances/{name}", A::project, 403, {R"({"name":"taken-over"})", R"({"name":"taken-over","project":"mine"})", R"({"migration":true})"},
       {R"({"name":"own-instance","migration":true,"project":"{project}"})", R"({"name":"own-instance","project":"{project}"})"}},
      {"DELETE", "/1.0/instances/{name}", A::project},
      {"GET", "/1.0/instances/{name}/state", A::project},
      {"PUT", "/1.0/instances/{name}/state", A::project, 403, {R"({"action":"start"})"}},
      {"POST", "/1.0/instances/{name}/rebuild", A::project, 403, {R"({"source":{"type":"none"}})"},
       {R"({"source":{"type":"image","fingerprint":"{fingerprint}"}})", R"({"source":{"type":"image","alias":"{alias}"}})", R"({"source":{"type":"image","fingerprint":"{fingerprint}","project":"{project}"}})"}},
      {"GET", "/1.0/instances/{name}/access", A::project},
      {"GET", "/1.0/instances/{name}/metadata", A::project},
      {"PUT", "/1.0/instances/{name}/metadata", A::project, 403, {R"({"architecture":"x86_64","properties":{"taken":"over"}})"}},
      {"PATCH", "/1.0/instances/{name}/metadata", A::project, 403, {R"({"properties":{"taken":"over"}})"}},
      {"GET", "/1.0/instances/{name}/metadata/templates", A::project},
      {"POST", "/1.0/instances/{name}/metadata/templates", A::project},
      {"DELETE", "/1.0/instances/{name}/metadata/templates", A::project},
      {"GET", "/1.0/instances/{name}/logs", A::project},
      {"GET", "/1.0/instances/{name}/logs/exec-output", A::project},
      {"GET", "/1.0/instances/{name}/logs/exec-output/{file}", A::project},
      {"DELETE", "/1.0/instances/{name}/logs/exec-output/{file}", A::project},
      {"GET", "/1.0/instances/{name}/logs/{file}", A::project},
      {"DELETE", "/1.0/instances/{name}/logs/{file}", A::project},
      {"GET", "/1.0/instances/{name}/files", A::project},
      {"HEAD", "/1.0/instances/{name}/files", A::project},
      {"POST", "/1.0/instances/{name}/files", A::project},
      {"DELETE", "/1.0/instances/{name}/files", A::project},
      {"GET", "/1.0/instances/{name}/sftp", A::project},
      {"POST", "/1.0/instances/{name}/console", A::project, 403, {R"({"type":"console"})"}},
      {"POST", "/1.0/instances/{name}/exec", A::project, 403, {R"({"command":["true"],"wait-for-websocket":true})", R"({"command":["true"],"record-output":true})"}},
      {"GET", "/1.0/instances/{name}/console", A::project},
      {"DELETE", "/1.0/instances/{name}/console", A::project},
      {"GET", "/1.0/instances/{name}/ready", A::project},
      {"GET", "/1.0/instances/{name}/snapshots", A::project},
      {"POST", "/1.0/instances/{name}/snapshots", A::project, 403, {R"({"name":"taken"})"}},
      {"GET", "/1.0/instances/{name}/snapshots/{snapshot}", A::project},
      {"PUT", "/1.0/instances/{name}/snapshots/{snapshot}", A::project, 403, {R"({"expires_at":"2001-01-01T00:00:00Z"})"}},
      {"PATCH", "/1.0/instances/{name}/snapshots/{snapshot}", A::project, 403, {R"({"expires_at":"2001-01-01T00:00:00Z"})"}},
      {"POST", "/1.0/instances/{name}/snapshots/{snapshot}", A::project, 403, rename},
      {"DELETE", "/1.0/instances/{name}/snapshots/{snapshot}", A::project},
      {"GET", "/1.0/instances/{name}/backups", A::project},
      {"POST", "/1.0/instances/{name}/backups", A::project, 403, {R"({"name":"taken"})"}},
      {"GET", "/1.0/instances/{name}/backups/{backup}", A::project},
      {"POST", "/1.0/instances/{name}/backups/{backup}", A::project, 403, rename},
      {"DELETE", "/1.0/instances/{name}/backups/{backup}", A::project},
      {"GET", "/1.0/instances/{name}/backups/{backup}/export", A::project},
      {"GET", "/1.0/images", A::anyone, 200, {}, {}, true},
      {"POST", "/1.0/images", A::project, 403,
       {R"({"source":{"type":"instance","name":"{instance}"}})", R"({"source":{"type":"instance","name":"{instance}","project":"{project}"}})", R"({"source":{"type":"snapshot","name":"{instance}/{snapshot}"}})",
        R"({"source":{"type":"image","mode":"pull","fingerprint":"{fingerprint}","project":"{project}"}})"}},
      {"GET", "/1.0/images/aliases", A::project, 403, {}, {}, true},
      {"POST", "/1.0/images/aliases", A::project, 403, {R"({"name":"a","target":"{fingerprint}"})"}},
      {"GET", "/1.0/images/aliases/{name}", A::anyone, 404},
      {"PUT", "/1.0/images/aliases/{name}", A::project, 403, {R"({"target":"{fingerprint}"})"}, {R"({"target":"{fingerprint}"})"}},
      {"PATCH", "/1.0/images/aliases/{name}", A::project, 403, change, {R"({"target":"{fingerprint}"})"}},
      {"POST", "/1.0/images/aliases/{name}", A::project, 403, rename},
      {"DELETE", "/1.0/images/aliases/{name}", A::project},
      {"GET", "/1.0/images/{fingerprint}", A::anyone, 404},
      {"PUT", "/1.0/images/{fingerprint}", A::project, 403, {R"({"public":true})"}, {R"({"profiles":["{profile}"]})"}},
      {"PATCH", "/1.0/images/{fingerprint}", A::project, 403, {R"({"public":true})"}, {R"({"profiles":["{profile}"]})"}},
      {"POST", "/1.0/images/{fingerprint}/secret", A::project},
      {"POST", "/1.0/images/{fingerprint}/refresh", A::project},
      {"DELETE", "/1.0/images/{fingerprint}", A::project},
      {"GET", "/1.0/images/{fingerprint}/export", A::anyone, 404},
      {"POST", "/1.0/images/{fingerprint}/export", A::project, 403, {R"({"target":"https://127.0.0.1:1","secret":"x","project":"mine"})"}, {R"({"target":"https://127.0.0.1:1","secret":"x","project":"{project}"})"}},
      {"GET", "/1.0/profiles", A::project, 403, {}, {}, true},
      {"POST", "/1.0/profiles", A::project, 403, {R"({"name":"{profile}"})"}, {}, true, "/1.0/profiles/{profile}"},
      {"GET", "/1.0/profiles/{name}", A::project},
      {"PUT", "/1.0/profiles/{name}", A::project, 403, change},
      {"PATCH", "/1.0/profiles/{name}", A::project, 403, change},
      {"POST", "/1.0/profiles/{name}", A::project, 403, rename},
      {"DELETE", "/1.0/profiles/{name}", A::project},
      {"GET", "/1.0/projects", A::trusted, 403, {}, {}, true},
      {"GET", "/1.0/projects/{name}", A::trusted},
      {"POST", "/1.0/projects", A::admin, 403, {R"({"name":"another"})"}},
      {"PUT", "/1.0/projects/{name}", A::admin, 403, change},
      {"PATCH", "/1.0/projects/{name}", A::admin, 403, change},
      {"POST", "/1.0/projects/{name}", A::admin, 403, rename},
      {"DELETE", "/1.0/projects/{name}", A::admin},
      {"GET", "/1.0/projects/{name}/state", A::trusted},
      {"GET", "/1.0/projects/{name}/access", A::trusted},
      {"GET", "/1.0/storage-pools", A::trusted, 403, {}, {}, true},
      {"POST", "/1.0/storage-pools", A::admin, 403, {R"({"name":"another","driver":"dir"})"}},
      {"GET", "/1.0/storage-pools/{name}", A::trusted, 403, {}, {}, true},
      {"PUT", "/1.0/storage-pools/{name}", A::admin, 403, change},
      {"PATCH", "/1.0/storage-pools/{name}", A::admin, 403, change},
      {"DELETE", "/1.0/storage-pools/{name}", A::admin},
      {"GET", "/1.0/storage-pools/{name}/resources", A::trusted, 403, {}, {}, true},
      {"GET", path(volumes), A::project, 403, {}, {}, true},
      {"GET", path(volumes + "/{type}"), A::project, 403, {}, {}, true},
      {"POST", path(volumes), A::project, 403,
       {R"({"name":"v1","type":"custom","source":{"type":"copy","pool":"pool","name":"{volume}","project":"{project}"}})", R"({"name":"v1","type":"custom","source":{"type":"copy","pool":"pool","name":"{volume}"}})",
        R"({"name":"v1","type":"custom","source":{"type":"copy","pool":"pool","name":"{volume}/{volume_snapshot}","project":"{project}"}})"}},
      {"POST", path(volumes + "/{type}"), A::project, 403, {R"({"name":"{volume}"})"}, {}, true, "/1.0/storage-pools/pool/volumes/custom/{volume}"},
      {"GET", path(volume), A::project},
      {"PUT", path(volume), A::project, 403, change, {R"({"restore":"{volume_snapshot}"})"}},
      {"PATCH", path(volume), A::project, 403, change},
      {"POST", path(volume), A::project, 403, {R"({"name":"taken-over"})", R"({"name":"taken-over","project":"mine"})", R"({"name":"taken-over","pool":"pool","project":"mine"})"}, {R"({"name":"own-volume","project":"{project}"})", R"({"name":"own-volume","pool":"pool","project":"{project}"})"}},
      {"DELETE", path(volume), A::project},
      {"GET", path(volume + "/state"), A::project},
      {"GET", path(volume + "/snapshots"), A::project},
      {"GET", path(volume + "/snapshots/{snapshot}"), A::project},
      {"POST", path(volume + "/snapshots"), A::project, 403, {R"({"name":"taken"})"}},
      {"PUT", path(volume + "/snapshots/{snapshot}"), A::project, 403, change},
      {"PATCH", path(volume + "/snapshots/{snapshot}"), A::project, 403, change},
      {"POST", path(volume + "/snapshots/{snapshot}"), A::project, 403, rename},
      {"DELETE", path(volume + "/snapshots/{snapshot}"), A::project},
      {"GET", path(volume + "/backups"), A::project},
      {"POST", path(volume + "/backups"), A::project, 403, {R"({"name":"taken"})"}},
      {"GET", path(volume + "/backups/{backup}"), A::project},
      {"POST", path(volume + "/backups/{backup}"), A::project, 403, rename},
      {"DELETE", path(volume + "/backups/{backup}"), A::project},
      {"GET", path(volume + "/backups/{backup}/export"), A::project},
      {"GET", path(pools + "/buckets"), A::project, 403, {}, {}, true},
      {"GET", "/1.0/operations", A::trusted, 403, {}, {}, true},
      {"GET", "/1.0/operations/{id}", A::trusted},
      {"GET", "/1.0/operations/{id}/wait", A::anyone, 404},
      {"GET", "/1.0/operations/{id}/websocket", A::anyone, 400},
      {"DELETE", "/1.0/operations/{id}", A::trusted},
      {"GET", "/internal/check", A::local},
      {"GET", "/internal/ready", A::local},
      {"PUT", "/internal/shutdown", A::local},
      {"GET", "/internal/sql", A::local},
      {"POST", "/internal/sql", A::local, 403, {R"({"database":"global","query":"DELETE FROM certificates"})"}},
      {"GET", "/internal/debug/gc", A::local},
      {"GET", "/internal/debug/bgp", A::local},
      {"POST", "/internal/debug/warnings", A::local},
      {"POST", "/internal/recover/validate", A::local},
      {"POST", "/internal/recover/import", A::local},
  };
}

using Names = std::map<std::string, std::string>;

std::string fill(std::string text, const Names &names) {
  for (auto &[word, value] : names) {
    auto token = "{" + word + "}";
    for (auto at = text.find(token); at != text.npos; at = text.find(token, at + value.size())) text.replace(at, token.size(), value);
  }
  return text;
}

/// A row's path, its placeholders by what they mean there.
std::string path_of(const Decision &d, Names names) {
  std::string p = d.path;
  auto under = [&](const char *t) { return p.starts_with(std::string("/1.0/") + t); };
  names["name"] = names[under("instances")        ? "instance"
                        : under("images/aliases") ? "alias"
                        : under("profiles")       ? "profile"
                        : under("projects")       ? "project"
                        : under("networks")       ? "network"
                                                  : "pool"];
  if (under("certificates")) names["fingerprint"] = names["client"];
  if (under("storage-pools")) names["snapshot"] = names["volume_snapshot"];
  names["backup"] = "b0"; // a host in memory keeps none: whose the instance or volume is must not show
  if (p.find("exec-output") != p.npos) names["file"] = names["output"];
  return fill(p, names);
}

/// Parameters without which a row says nothing.
std::string needed(const Decision &d) {
  std::string_view p = d.path;
  if (p.ends_with("/files") || p.ends_with("/templates")) return "&path=/x";
  if (p.ends_with("/internal/sql")) return "&database=global";
  if (p.ends_with("/wait")) return "&timeout=0"; // some last
  return "";
}

/// A client that keeps its connection while the server does.
class Asker {
public:
  Asker(Served &s, const rest::KeyPair *pair) : s_(s), pair_(pair) {}
  Answer ask(const std::string &method, const std::string &path, const json::value &body = nullptr) {
    if (!c_) c_ = std::make_unique<Connection>(s_.port, pair_);
    REQUIRE(c_->connected());
    auto a = c_->ask(method, path, body);
    if (a.closes) c_.reset();
    // What begins is looked at at its end.
    if (a.status == 202) {
      auto op = std::string(a.body.at("operation").as_string());
      auto end = ask("GET", op + "/wait?project=mine&timeout=60");
      a.status = static_cast<int>(end.body.at("metadata").at("status_code").as_int64());
      a.text = end.body.at("metadata").at("err").is_string() ? std::string(end.body.at("metadata").at("err").as_string()) : "";
    }
    return a;
  }

private:
  Served &s_;
  const rest::KeyPair *pair_;
  std::unique_ptr<Connection> c_;
};

/// Two tenants, each with one of everything.
struct World : Served {
  rest::KeyPair me, other, metrics, admin;
  Names theirs, unreal, own;
  std::string socket;

  World() {
    REQUIRE(std::system("ip link add br-rows type bridge") == 0);
    socket = dir + "/socket";
    server->listen_unix(socket);
    for (auto *p : {"mine", "theirs"}) ask("POST", "/1.0/projects", {{"name", p}});
    me = tenant("me", "mine");
    other = tenant("hidden-client", "theirs");
    metrics = rest::make_key_pair("metrics", {});
    admin = rest::make_key_pair("admin", {});
    ask("POST", "/1.0/certificates", {{"type", "metrics"}, {"name", "m"}, {"certificate", metrics.certificate}});
    ask("POST", "/1.0/certificates", {{"type", "client"}, {"name", "admin"}, {"certificate", admin.certificate}});
    auto devices = root();
    theirs = make("theirs", "hidden", devices);
    own = make("mine", "own", devices);
    theirs["client"] = rest::fingerprint(other.certificate);
    own["client"] = rest::fingerprint(me.certificate);
    ask("POST", "/internal/debug/warnings", {{"location", ""}, {"project", "theirs"}, {"message", "hidden"}, {"entity_type_code", -1}, {"entity_id", -1}, {"type_code", 1}});
    theirs["uuid"] = std::string(ask("GET", "/1.0/warnings?recursion=1").at(0).at("uuid").as_string());
    unreal = {{"instance", "nobody"}, {"snapshot", "nosnap"},     {"fingerprint", std::string(64, '0')},
              {"alias", "noalias"},   {"profile", "noprofile"},   {"volume", "novolume"},
              {"project", "no-project"},     {"volume_snapshot", "no1"}, {"id", "0a0a0a0a-0000-4000-8000-000000000000"},
              {"client", std::string(64, '1')}, {"uuid", "0b0b0b0b-0000-4000-8000-000000000000"}};
    auto evil = rest::make_key_pair("evil", {}).certificate;
    std::string line;
    for (char c : evil) line += c == '\n' ? std::string("\\n") : std::string(1, c);
    for (auto *n : {&theirs, &unreal, &own}) {
      (*n)["pool"] = "pool";
      (*n)["network"] = "br-rows";
      (*n)["type"] = "custom";
      (*n)["file"] = "lxc.log";
      (*n)["output"] = "exec_x.stdout";
      (*n)["certificate"] = line;
    }
  }

  ~World() { CHECK(std::system("ip link del br-rows") == 0); }

  Names make(const std::string &project, const std::string &mark, const json::value &devices) {
    auto q = "?project=" + project;
    Names n{{"project", project}};
    for (auto *kind : {"instance", "snapshot", "alias", "profile", "volume", "volume_snapshot"}) n[kind] = mark + "-" + kind;
    std::replace(n["volume_snapshot"].begin(), n["volume_snapshot"].end(), '_', '-');
    n["fingerprint"] = image(project, n["alias"], false);
    done("/1.0/instances" + q, {{"name", n["instance"]}, {"source", {{"type", "none"}}}, {"devices", devices}, {"config", {{"user.x", mark + "-word"}}}});
    // An operation that stays: that of a secret.
    n["id"] = std::string(ask("POST", "/1.0/images/" + n["fingerprint"] + "/secret" + q).at("id").as_string());
    done("/1.0/instances/" + n["instance"] + "/snapshots" + q, {{"name", n["snapshot"]}});
    ask("POST", "/1.0/profiles" + q, {{"name", n["profile"]}});
    ask("POST", "/1.0/storage-pools/pool/volumes/custom" + q, {{"name", n["volume"]}});
    done("/1.0/storage-pools/pool/volumes/custom/" + n["volume"] + "/snapshots" + q, {{"name", n["volume_snapshot"]}});
    return n;
  }

  /// Everything that a tenant may not change.
  std::string everything() {
    std::string out;
    for (std::string p : {"/1.0/instances", "/1.0/instances/hidden-instance/snapshots", "/1.0/profiles", "/1.0/images", "/1.0/images/aliases", "/1.0/storage-pools/pool/volumes",
                          "/1.0/storage-pools/pool/volumes/custom/hidden-volume/snapshots", "/1.0/projects", "/1.0/certificates", "/1.0/warnings", "/1.0/storage-pools"})
      out += p + " " + json::serialize(ask("GET", p + "?project=theirs&recursion=1")) + "\n";
    return out + json::serialize(ask("GET", "/1.0").at("config"));
  }
};

std::vector<std::string> said(const Names &names) {
  std::vector<std::string> out;
  for (auto &[k, v] : names)
    if (v.size() > 2 && k != "pool" && k != "network" && k != "type") out.push_back(v);
  for (auto *k : {"fingerprint", "client"}) out.push_back(names.at(k).substr(0, 12));
  return out;
}

/// What is left when the client's own words are taken out; of both names, so that what was refused can be compared.
std::string plain(const std::string &text, const Names &a, const Names &b) {
  auto out = said(a);
  for (auto &w : said(b)) out.push_back(w);
  // Longer words first: one may begin another.
  std::sort(out.begin(), out.end(), [](auto &x, auto &y) { return x.size() > y.size(); });
  return without(text, out);
}

json::value parse(const std::string &body) { return body.empty() ? json::value(nullptr) : json::parse(body); }

std::vector<std::string> bodies_of(const Decision &d) {
  if (!d.bodies.empty()) return d.bodies;
  return {std::string_view(d.method) == "GET" || std::string_view(d.method) == "HEAD" || std::string_view(d.method) == "DELETE" ? "" : "{}"};
}

} // namespace

TEST_CASE("every row of the API is decided on") {
  std::map<std::string, Access> decided;
  for (auto &d : decisions()) {
    auto fresh = decided.emplace(std::string(d.method) + " " + d.path, d.who).second;
    CAPTURE(std::string(d.path));
    CHECK(fresh);
  }
  std::set<std::string> there;
  for (auto &r : api::rows()) {
    auto name = std::string(r.method) + " " + r.path;
    CAPTURE(name);
    there.insert(name);
    auto it = decided.find(name);
    CHECK_MESSAGE(it != decided.end(), "a new row: say in decisions() who may call it, and what of other tenants its path and body can name");
    if (it != decided.end()) CHECK(static_cast<int>(it->second) == static_cast<int>(r.access));
  }
  for (auto &[name, who] : decided) {
    CAPTURE(name);
    CHECK(there.count(name) == 1);
  }
}

TEST_CASE("rows of the API and clients that are not trusted") {
  World w;
  auto before = w.everything();
  auto stranger = rest::make_key_pair("stranger", {});
  for (auto *pair : std::initializer_list<const rest::KeyPair *>{nullptr, &stranger, &w.metrics}) {
    Asker client(w, pair);
    for (auto &d : decisions()) {
      CAPTURE(std::string(d.method));
      CAPTURE(std::string(d.path));
      for (std::string project : {"", "theirs", "no-project"})
        for (auto &body : bodies_of(d)) {
          CAPTURE(project);
          CAPTURE(body);
          auto one = [&](const Names &names) {
            auto a = client.ask(d.method, path_of(d, names) + "?project=" + project + needed(d), parse(fill(body, names)));
            auto seen = plain(a.text, names, names), bare = plain(a.text, w.theirs, w.unreal);
            CHECK(seen.find("hidden") == seen.npos);
            CHECK(plain(a.head, names, names).find("hidden") == std::string::npos);
            int expected = d.who == Access::anyone ? d.to_unknown : d.who == Access::metrics && pair == &w.metrics ? 200 : 403;
            if (std::string_view(d.path) == "/1.0/certificates" && d.who == Access::anyone && !pair) expected = a.status == 400 ? 400 : 403; // shows none
            // A certificate for metrics that is bound to no project may know which there are.
            bool knows = d.who == Access::metrics && pair == &w.metrics;
            if (knows && project == "no-project") expected = 404;
            CHECK_MESSAGE(a.status == expected, a.text);
            // Counters move on from one answer to the next.
            return std::to_string(a.status) + (knows || a.status == 200 ? "" : " " + bare);
          };
          auto real = one(w.theirs), unreal = one(w.unreal);
          CHECK(real == unreal);
        }
    }
  }
  CHECK(w.everything() == before);
}

TEST_CASE("rows of the API and a tenant that aims at another") {
  World w;
  auto before = w.everything();
  Asker client(w, &w.me);
  for (auto &d : decisions()) {
    CAPTURE(std::string(d.method));
    CAPTURE(std::string(d.path));
    bool closed = d.who == Access::admin || d.who == Access::local;
    auto compare = [&](const std::string &query, const std::string &body, bool to_own, bool may_succeed) {
      CAPTURE(query);
      CAPTURE(body);
      auto one = [&](const Names &names) {
        auto a = client.ask(d.method, path_of(d, to_own ? w.own : names) + "?" + query + needed(d), parse(fill(body, names)));
        auto seen = plain(a.text, names, names), bare = plain(a.text, w.theirs, w.unreal);
        CHECK_MESSAGE(seen.find("hidden") == seen.npos, a.text);
        CHECK(plain(a.head, names, names).find("hidden") == std::string::npos);
        for (auto *k : {"fingerprint", "id", "client"}) CHECK(seen.find(w.theirs.at(k)) == seen.npos);
        CHECK((a.status < 500 || a.status == 501));
        if (closed) CHECK_MESSAGE(a.status == 403, a.text);
        if (!may_succeed) CHECK_MESSAGE(a.status >= 400, a.text);
        if (d.undo && a.status < 300) w.ask("DELETE", fill(d.undo, names) + "?project=mine");
        return std::to_string(a.status) + (a.status < 300 && may_succeed ? "" : " " + bare);
      };
      auto real = one(w.theirs), unreal = one(w.unreal);
      CHECK(real == unreal);
      return real;
    };
    for (auto &body : bodies_of(d)) {
      for (std::string query : {"project=mine", "project=mine&project=theirs", "project=theirs&project=mine", "recursion=2&project=mine"}) compare(query, body, false, d.may_succeed);
      // Other projects, whatever they are: as if there were none.
      bool of_project = d.who == Access::project;
      for (std::string query : {"", "project=default"}) {
        auto a = compare(query, body, false, d.may_succeed && !of_project);
        if (of_project) CHECK(a.starts_with("403"));
      }
      for (std::string query : {"project=theirs", "project=no-project", "recursion=1&project=theirs"}) {
        auto a = compare(query, body, false, d.may_succeed && d.who == Access::anyone);
        if (d.who != Access::anyone) CHECK(a.starts_with("403"));
      }
      compare("all-projects=true&recursion=1", body, false, d.may_succeed);
      compare("all-projects=true&project=theirs", body, false, d.may_succeed);
    }
    for (auto &body : d.bodies_to_own) compare("project=mine", body, true, false);
  }
  // Streams: nothing of it by an upgrade either.
  for (std::string op : {w.theirs.at("id"), w.unreal.at("id")}) CHECK(Connection(w.port, &w.me).upgrade("/1.0/operations/" + op + "/websocket?secret=x") == Connection(w.port, &w.me).upgrade("/1.0/operations/" + w.unreal.at("id") + "/websocket?secret=x"));
  for (auto *q : {"", "?project=theirs", "?project=default", "?project=no-project"}) CHECK(Connection(w.port, &w.me).upgrade(std::string("/1.0/events") + q) == 403);
  CHECK(w.everything() == before);
  // What the tenant aimed with is there and its own, so that the refusals above were no accident.
  for (auto &p : {"/1.0/instances/own-instance", "/1.0/instances/own-instance/snapshots/own-snapshot", "/1.0/profiles/own-profile", "/1.0/images/aliases/own-alias",
                  "/1.0/storage-pools/pool/volumes/custom/own-volume", "/1.0/storage-pools/pool/volumes/custom/own-volume/snapshots/own-volume-snapshot"})
    CHECK(client.ask("GET", std::string(p) + "?project=mine").status == 200);
  CHECK(client.ask("GET", "/1.0/certificates/" + w.own.at("client")).body.at("metadata").at("projects") == json::array{"mine"});
}

TEST_CASE("rows of the API and an administrator, over the network and by the socket") {
  World w;
  auto before = w.everything();
  Asker client(w, &w.admin);
  auto by_socket = [&](const std::string &method, const std::string &path, const std::string &body) {
    int status = 0;
    testing::Client c(w.socket);
    auto text = c.send(testing::request(method, path, body)).answer(&status);
    CAPTURE(text);
    CHECK(status != 0);
    return status;
  };
  for (auto &d : decisions()) {
    CAPTURE(std::string(d.method));
    CAPTURE(std::string(d.path));
    std::string_view path = d.path;
    bool reads = std::string_view(d.method) == "GET" || std::string_view(d.method) == "HEAD";
    // Only what is there proves that reading is allowed; only what is not there is changed.
    auto target = path_of(d, reads ? w.theirs : w.unreal) + "?project=" + (path.find("/networks/") != path.npos ? "default" : reads ? "theirs" : "no-project") + needed(d);
    auto a = client.ask(d.method, target, reads ? json::value(nullptr) : json::value(json::array{}));
    if (d.who == Access::local) {
      CHECK(a.status == 403);
      if (path != "/internal/shutdown" && reads) CHECK(by_socket(d.method, target, "") == 200);
      if (path != "/internal/shutdown" && !reads) CHECK(by_socket(d.method, target, "[]") == 400);
      continue;
    }
    CHECK_MESSAGE(a.status != 403, a.text);
    CHECK_MESSAGE((a.status < 500 || a.status == 501), a.text);
    // Of a stopped instance, a file or backup that is not there, and streams asked for without an upgrade.
    bool nothing_to_read = path.ends_with("/files") || path.ends_with("/templates") || path.ends_with("/sftp") || path.ends_with("/console") || path.ends_with("/ready") || path.ends_with("/websocket") ||
                           path.ends_with("/{file}") || path.ends_with("/events") || path.find("/{backup}") != path.npos;
    if (reads && !nothing_to_read) CHECK_MESSAGE(a.status == 200, a.text);
    if (!reads) CHECK_MESSAGE(a.status >= 400, a.text);
    // What stays open is not read to its end here.
    if (std::string_view(d.method) != "HEAD") CHECK(by_socket(d.method, target, reads ? "" : "[]") == a.status);
  }
  CHECK(w.everything() == before);
}
