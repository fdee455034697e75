// SPDX-License-Identifier: Apache-2.0
// A host served over TLS: who gets in, by what, and what it may do. Clients are OpenSSL's and the official `incus` command.
#include <list>
#include <mutex>
#include <poll.h>
#include <sys/wait.h>
#include <thread>

#include <incus/instance.hpp>
#include <incus/operation.hpp>

#include "trust_room.hpp"

using namespace trust_room;

TEST_CASE("trust over TLS: unknown, by token, restricted, shut out") {
  Served s;
  CHECK_FALSE(Connection(s.port, nullptr, TLS1_2_VERSION).connected());
  auto me = rest::make_key_pair("me", {}), other = rest::make_key_pair("other", {});
  for (auto *pair : {static_cast<const rest::KeyPair *>(nullptr), static_cast<const rest::KeyPair *>(&me)}) {
    auto a = s.once(pair, "GET", "/1.0");
    CHECK(a.status == 200);
    CHECK(a.body.at("metadata").at("auth") == "untrusted");
    CHECK_FALSE(a.body.at("metadata").as_object().contains("environment"));
    a = s.once(pair, "GET", "/1.0/instances");
    CHECK(a.status == 403);
    CHECK(a.text.find("\"error_code\":403") != std::string::npos);
    for (auto *path : {"/1.0/certificates", "/1.0/projects", "/1.0/operations", "/1.0/metrics", "/internal/ready", "/internal/sql?database=global"}) CHECK(s.once(pair, "GET", path).status == 403);
    CHECK(s.once(pair, "PATCH", "/1.0", {{"config", {{"user.x", "1"}}}}).status == 403);
  }
  s.ask("POST", "/1.0/projects", {{"name", "p"}});
  auto token = s.token({{"restricted", true}, {"projects", {"p"}}});
  CHECK(s.once(&me, "POST", "/1.0/certificates", {{"type", "client"}, {"trust_token", "badtoken"}}).status == 403);
  Connection mine(s.port, &me);
  REQUIRE(mine.connected());
  CHECK(mine.ask("POST", "/1.0/certificates", {{"type", "client"}, {"trust_token", token}}).status == 201);
  // The connection that brought the token is known at once.
  auto a = mine.ask("GET", "/1.0");
  CHECK(a.body.at("metadata").at("auth") == "trusted");
  CHECK(a.body.at("metadata").at("auth_user_name") == json::value(rest::fingerprint(me.certificate)));
  CHECK(s.once(&other, "POST", "/1.0/certificates", {{"type", "client"}, {"trust_token", token}}).status == 403);
  CHECK(mine.ask("GET", "/1.0/instances?project=p").status == 200);
  CHECK(mine.ask("GET", "/1.0/instances").status == 403);
  CHECK(mine.ask("GET", "/1.0/instances?project=nix").status == 403);
  CHECK(mine.ask("GET", "/1.0/projects").body.at("metadata") == json::array{"/1.0/projects/p"});
  // What is refused before its body was read ends the connection.
  CHECK(s.once(&me, "POST", "/1.0/projects", {{"name", "x"}}).status == 403);
  auto own = "/1.0/certificates/" + rest::fingerprint(me.certificate);
  CHECK(s.once(&me, "PATCH", own, {{"restricted", false}}).status == 403);
  CHECK(s.once(&me, "PATCH", own, {{"certificate", other.certificate}}).status == 200);
  CHECK(mine.ask("GET", "/1.0/instances?project=p").status == 403);
  CHECK(s.once(&other, "GET", "/1.0/instances?project=p").status == 200);
  // Shut out: also on a connection that is open.
  Connection open(s.port, &other);
  REQUIRE(open.connected());
  CHECK(open.ask("GET", "/1.0/instances?project=p").status == 200);
  s.ask("DELETE", "/1.0/certificates/" + rest::fingerprint(other.certificate));
  CHECK(open.ask("GET", "/1.0/instances?project=p").status == 403);
}

TEST_CASE("trust over TLS: a certificate for metrics") {
  Served s;
  auto pair = rest::make_key_pair("metrics", {});
  CHECK(s.once(&pair, "GET", "/1.0/metrics").status == 403);
  s.ask("POST", "/1.0/certificates", {{"type", "metrics"}, {"name", "m"}, {"certificate", pair.certificate}});
  CHECK(s.once(&pair, "GET", "/1.0/metrics").status == 200);
  CHECK(s.once(&pair, "GET", "/1.0/certificates").status == 403);
  CHECK(s.once(&pair, "GET", "/1.0").body.at("metadata").at("auth") == "untrusted");
  s.ask("PATCH", "/1.0", {{"config", {{"core.metrics_authentication", "false"}}}});
  CHECK(s.once(nullptr, "GET", "/1.0/metrics").status == 200);
  CHECK(s.once(nullptr, "GET", "/1.0/instances").status == 403);
}

TEST_CASE("trust over TLS: the official client adds the server by token") {
  Served s;
  REQUIRE(std::system("command -v incus >/dev/null") == 0);
  auto conf = s.dir + "/conf";
  fs::create_directory(conf);
  auto run = [&](const std::string &arguments) {
    auto rc = std::system(("INCUS_CONF=" + conf + " timeout 60 incus " + arguments + " </dev/null >" + s.dir + "/out 2>&1").c_str());
    std::ifstream out(s.dir + "/out");
    std::string text{std::istreambuf_iterator<char>(out), {}};
    MESSAGE(arguments.substr(0, 40) << ": " << text);
    return WEXITSTATUS(rc);
  };
  auto address = "https://127.0.0.1:" + std::to_string(s.port);
  CHECK(run("remote add bad " + address + " --accept-certificate --token badtoken") != 0);
  CHECK(run("remote add srv " + s.token()) == 0);
  CHECK(run("project create srv:blah") == 0);
  CHECK(run("list srv:") == 0);
  CHECK(s.ask("GET", "/1.0/certificates").as_array().size() == 1);
  CHECK(run("config trust list srv:") == 0);
  CHECK(run("config set srv: user.x=1") == 0);
  CHECK(s.ask("GET", "/1.0").at("config").at("user.x") == "1");
}

TEST_CASE("trust over TLS: a client of one project cannot tell what another has from what is not there") {
  Served s;
  for (auto *p : {"mine", "theirs"}) s.ask("POST", "/1.0/projects", {{"name", p}, {"description", "hidden words of " + std::string(p)}});
  s.ask("PATCH", "/1.0/projects/mine", {{"description", "mine"}});
  auto me = s.tenant("me", "mine"), other = s.tenant("hidden-client", "theirs");
  auto image = s.image("theirs", "hidden-image", false), open = s.image("theirs", "open", true);
  auto in_default = s.image("default", "hidden-default", false);
  auto root = s.root();
  auto made = s.done("/1.0/instances?project=theirs", {{"name", "hidden1"}, {"source", {{"type", "none"}}}, {"devices", root}, {"config", {{"user.x", "hidden"}}}});
  s.done("/1.0/instances/hidden1/snapshots?project=theirs", {{"name", "hidden-snap"}});
  s.ask("POST", "/1.0/profiles?project=theirs", {{"name", "hidden-profile"}});
  s.ask("POST", "/1.0/storage-pools/pool/volumes/custom?project=theirs", {{"name", "hidden-volume"}});
  auto secret = s.ask("POST", "/1.0/images/" + image + "/secret?project=theirs");
  auto token = s.ask("POST", "/1.0/certificates", {{"token", true}, {"type", "client"}, {"name", "hidden-joe"}});
  auto id = [](const json::value &operation) { return std::string(operation.at("id").as_string()); };

  // Lists: nothing of it, whatever is asked for.
  Connection c(s.port, &me);
  REQUIRE(c.connected());
  for (std::string path : {"/1.0", "/1.0/instances", "/1.0/images", "/1.0/images/aliases", "/1.0/operations", "/1.0/projects", "/1.0/profiles", "/1.0/certificates", "/1.0/networks", "/1.0/warnings",
                           "/1.0/storage-pools", "/1.0/storage-pools/pool", "/1.0/storage-pools/pool/volumes", "/1.0/storage-pools/pool/volumes/custom", "/1.0/metrics", "/1.0/resources",
                           "/1.0/storage-pools/pool/resources"})
    for (std::string query : {"?recursion=2", "?recursion=1&project=mine", "?recursion=2&project=mine", "?recursion=1&project=theirs", "?recursion=1&project=default", "?recursion=2&all-projects=true"}) {
      CAPTURE(path);
      CAPTURE(query);
      auto a = s.once(&me, "GET", path + query);
      CHECK(a.text.find("hidden") == std::string::npos);
      for (auto *fingerprint : {&image, &in_default}) CHECK(a.text.find(*fingerprint) == std::string::npos);
      for (auto *op : {&made, &secret, &token}) CHECK(a.text.find(id(*op)) == std::string::npos);
      CHECK(a.text.find(secret.at("metadata").at("secret").as_string()) == std::string::npos);
      CHECK(a.status < 500);
    }
  CHECK(c.ask("GET", "/1.0/images?project=mine").body.at("metadata").as_array().empty());
  CHECK(c.ask("GET", "/1.0/images?project=theirs").body.at("metadata").as_array().size() == 1);

  // By name: the same answer as for a name that nobody has.
  std::string none(64, '0'), nobody = "0a0a0a0a-0000-4000-8000-000000000000";
  struct Pair {
    std::string path, real, unreal;
    json::value body = nullptr;
  };
  std::vector<Pair> pairs;
  for (std::string project : {"mine", "theirs", "default"}) {
    auto q = "?project=" + project;
    for (auto &fingerprint : {image, in_default}) {
      pairs.push_back({"GET /1.0/images/%" + q, fingerprint, none});
      pairs.push_back({"GET /1.0/images/%/export" + q, fingerprint, none});
      pairs.push_back({"GET /1.0/images/%" + q + "&secret=wrong", fingerprint, none});
      pairs.push_back({"GET /1.0/images/%/export" + q + "&secret=wrong", fingerprint, none});
      pairs.push_back({"GET /1.0/images/%" + q, fingerprint.substr(0, 12), none.substr(0, 12)});
      for (auto *verb : {"PUT", "PATCH", "DELETE"}) pairs.push_back({verb + (" /1.0/images/%" + q), fingerprint, none, json::object{{"public", true}}});
      pairs.push_back({"POST /1.0/images/%/secret" + q, fingerprint, none, json::object{}});
      pairs.push_back({"POST /1.0/instances" + q, fingerprint, none, {{"name", "c1"}, {"source", {{"type", "image"}, {"fingerprint", "%"}}}, {"devices", root}}});
      pairs.push_back({"POST /1.0/images/aliases" + q, fingerprint, none, {{"name", "a"}, {"target", "%"}}});
    }
    for (auto *alias : {"hidden-image", "hidden-default"}) {
      pairs.push_back({"GET /1.0/images/aliases/%" + q, alias, "nobody"});
      pairs.push_back({"DELETE /1.0/images/aliases/%" + q, alias, "nobody"});
      pairs.push_back({"POST /1.0/instances" + q, alias, "nobody", {{"name", "c1"}, {"source", {{"type", "image"}, {"alias", "%"}}}, {"devices", root}}});
    }
    for (auto *op : {&made, &secret, &token})
      for (auto *what : {"GET /1.0/operations/%", "GET /1.0/operations/%/wait", "DELETE /1.0/operations/%"}) pairs.push_back({what + q, id(*op), nobody});
    for (auto *what : {"GET /1.0/instances/%", "GET /1.0/instances/%/state", "GET /1.0/instances/%/snapshots", "GET /1.0/instances/%/files?path=/etc/passwd", "GET /1.0/instances/%/logs", "DELETE /1.0/instances/%"})
      pairs.push_back({what + (std::string(what).find('?') == std::string::npos ? q : "&project=" + project), "hidden1", "nobody"});
    pairs.push_back({"GET /1.0/profiles/%" + q, "hidden-profile", "nobody"});
    pairs.push_back({"GET /1.0/storage-pools/pool/volumes/custom/%" + q, "hidden-volume", "nobody"});
    pairs.push_back({"POST /1.0/images" + q, "hidden1", "nobody", {{"source", {{"type", "instance"}, {"name", "%"}}}}});
    if (project == "mine") pairs.push_back({"POST /1.0/instances" + q, "theirs", "nix", {{"name", "c1"}, {"source", {{"type", "copy"}, {"source", "hidden1"}, {"project", "%"}}}}});
    pairs.push_back({"POST /1.0/instances" + q, "hidden1", "nobody", {{"name", "c1"}, {"source", {{"type", "copy"}, {"source", "%"}, {"project", "theirs"}}}}});
  }
  pairs.push_back({"GET /1.0/projects/%", "theirs", "nix"});
  pairs.push_back({"DELETE /1.0/projects/%", "theirs", "nix"});
  pairs.push_back({"GET /1.0/certificates/%", rest::fingerprint(other.certificate), none});
  for (auto &p : pairs) {
    auto one = [&](const std::string &name) {
      auto fill = [&](std::string t) {
        for (auto at = t.find('%'); at != std::string::npos; at = t.find('%')) t.replace(at, 1, name);
        return t;
      };
      auto line = fill(p.path);
      auto space = line.find(' ');
      auto body = p.body.is_null() ? json::value(nullptr) : json::parse(fill(json::serialize(p.body)));
      auto a = s.once(&me, line.substr(0, space), line.substr(space + 1), body);
      auto text = a.text;
      // What begins is looked at at its end.
      if (a.status == 202) {
        auto op = std::string(a.body.at("operation").as_string());
        auto end = s.once(&me, "GET", op + "/wait?project=mine&timeout=60");
        text = std::to_string(end.body.at("metadata").at("status_code").as_int64()) + std::string(end.body.at("metadata").at("err").as_string());
        CHECK(end.body.at("metadata").at("status_code").as_int64() == 400);
      }
      return std::to_string(a.status) + " " + without(text, {name, name.substr(0, 12)});
    };
    auto real = one(p.real), unreal = one(p.unreal);
    CAPTURE(p.path);
    CHECK(real == unreal);
    CHECK(real.substr(0, 3) != "200");
    CHECK(real.find("hidden-") == std::string::npos);
  }
  for (auto *op : {&made, &secret, &token}) {
    auto theirs = Connection(s.port, &me).upgrade("/1.0/operations/" + id(*op) + "/websocket?secret=wrong");
    CHECK(theirs == Connection(s.port, &me).upgrade("/1.0/operations/" + nobody + "/websocket?secret=wrong"));
  }
  // The image's secret opens it to whoever holds it: that is what it is for. Everything is as it was.
  CHECK(s.once(&me, "GET", "/1.0/images/" + image + "?project=theirs&secret=" + std::string(secret.at("metadata").at("secret").as_string())).status == 200);
  CHECK(s.ask("GET", "/1.0/images?project=theirs").as_array().size() == 2);
  CHECK(s.ask("GET", "/1.0/instances?project=mine").as_array().empty());
  CHECK(s.ask("GET", "/1.0/instances/hidden1?project=theirs").at("config").at("user.x") == "hidden");
}

TEST_CASE("trust over TLS: events of other projects are not for a restricted client") {
  Served s("test://");
  for (auto *p : {"mine", "theirs"}) s.ask("POST", "/1.0/projects", {{"name", p}});
  auto root = s.root();
  auto me = s.tenant("me", "mine");
  CHECK(Connection(s.port, &me).upgrade("/1.0/events") == 403);
  CHECK(Connection(s.port, &me).upgrade("/1.0/events?project=theirs") == 403);
  Connection own(s.port, &me), all(s.port, &me);
  REQUIRE(own.upgrade("/1.0/events?project=mine") == 101);
  REQUIRE(all.upgrade("/1.0/events?all-projects=true") == 101);
  s.done("/1.0/instances?project=theirs", {{"name", "hidden1"}, {"source", {{"type", "none"}}}, {"devices", root}});
  s.done("/1.0/instances", {{"name", "hidden2"}, {"source", {{"type", "none"}}}, {"devices", root}});
  auto image = s.image("theirs", "hidden-image", false);
  auto secret = s.ask("POST", "/1.0/images/" + image + "/secret?project=theirs");
  auto token = s.ask("POST", "/1.0/certificates", {{"token", true}, {"type", "client"}, {"name", "hidden-joe"}});
  auto in_mine = s.image("mine", "mark", false);
  auto my_secret = s.ask("POST", "/1.0/images/" + in_mine + "/secret?project=mine");
  s.done("/1.0/instances?project=mine", {{"name", "the-end"}, {"source", {{"type", "none"}}}, {"devices", root}});
  for (auto *listener : {&own, &all}) {
    int seen = 0;
    for (;;) {
      auto text = listener->message();
      CAPTURE(text);
      seen++;
      CHECK(text.find("hidden") == std::string::npos);
      CHECK(text.find("theirs") == std::string::npos);
      CHECK(text.find(image) == std::string::npos);
      for (auto *op : {&secret, &token, &my_secret}) CHECK(text.find(op->at("metadata").at("secret").as_string()) == std::string::npos);
      auto e = json::parse(text);
      CHECK(e.at("project") == "mine");
      if (text.find("instance-created") != std::string::npos) break;
    }
    CHECK(seen > 3);
  }
}

TEST_CASE("trust over TLS: the secrets of a command are for who began it") {
  Served s("test://");
  s.host->on_exec("", [](const std::string &, const ExecRequest &, const std::string &input) { return ExecResult{0, input, ""}; });
  s.ask("POST", "/1.0/projects", {{"name", "mine"}});
  s.done("/1.0/instances?project=mine", {{"name", "c1"}, {"start", true}, {"source", {{"type", "none"}}}, {"devices", s.root()}});
  auto me = s.tenant("me", "mine"), reader = s.tenant("reader", "mine");
  Connection events(s.port, &reader);
  REQUIRE(events.upgrade("/1.0/events?project=mine") == 101);
  auto begun = s.once(&me, "POST", "/1.0/instances/c1/exec?project=mine", {{"command", {"x"}}, {"wait-for-websocket", true}});
  REQUIRE(begun.status == 202);
  auto fds = begun.body.at("metadata").at("metadata").at("fds").as_object();
  REQUIRE(fds.size() == 4);
  auto op = std::string(begun.body.at("operation").as_string());
  auto tells = [&](const std::string &text) {
    for (auto &kv : fds)
      if (text.find(kv.value().as_string()) != std::string::npos) return true;
    return false;
  };
  CHECK(tells(s.once(&me, "GET", op).text));
  for (auto path : {op, std::string("/1.0/operations?recursion=1&project=mine"), std::string("/1.0/operations?recursion=1&all-projects=true"), op + "/wait?timeout=0"}) {
    CAPTURE(path);
    auto a = s.once(&reader, "GET", path);
    CHECK(a.status == 200);
    CHECK(a.text.find(op.substr(16)) != std::string::npos);
    CHECK_FALSE(tells(a.text));
  }
  CHECK_FALSE(tells(json::serialize(s.ask("GET", op))));
  CHECK(s.once(&me, "DELETE", op).status == 200);
  for (;;) {
    auto text = events.message();
    CHECK_FALSE(tells(text));
    if (text.find("operation-cancelled") != std::string::npos) break;
  }
}

TEST_CASE("trust over TLS: what a project borrows may be used there, not changed") {
  Served s;
  s.ask("POST", "/1.0/projects", {{"name", "mine"}, {"config", {{"features.images", "false"}, {"features.profiles", "false"}, {"features.storage.volumes", "false"}}}});
  auto root = s.root();
  auto me = s.tenant("me", "mine");
  auto image = s.image("default", "lent", false);
  s.ask("POST", "/1.0/profiles", {{"name", "lent"}, {"devices", {{"v", {{"type", "disk"}, {"pool", "pool"}, {"source", "lent"}, {"path", "/v"}}}}}});
  s.ask("POST", "/1.0/storage-pools/pool/volumes/custom", {{"name", "lent"}});
  s.done("/1.0/instances", {{"name", "hidden1"}, {"source", {{"type", "none"}}}, {"devices", root}, {"profiles", {"default", "lent"}}});
  auto volume = std::string("/1.0/storage-pools/pool/volumes/custom/lent");
  s.done(volume + "/snapshots", {{"name", "snap"}});
  const std::string q = "?project=mine";
  for (std::string path : {"/1.0/profiles/lent", "/1.0/profiles/default", "/1.0/images/aliases/lent"}) CHECK(s.once(&me, "GET", path + q).status == 200);
  CHECK(s.once(&me, "GET", "/1.0/images/" + image + q).status == 200);
  CHECK(s.once(&me, "GET", volume + q).status == 200);
  // Who uses it in other projects is not told.
  for (std::string path : {volume, std::string("/1.0/profiles/lent"), std::string("/1.0/storage-pools/pool/volumes")}) CHECK(s.once(&me, "GET", path + q + "&recursion=1").text.find("hidden1") == std::string::npos);
  struct Change {
    std::string method, path;
    json::value body = json::object{};
  };
  for (auto &c : {Change{"PUT", "/1.0/profiles/default", {{"config", {{"security.privileged", "true"}}}}}, Change{"PATCH", "/1.0/profiles/lent", {{"description", "x"}}},
                  Change{"POST", "/1.0/profiles/lent", {{"name", "other"}}}, Change{"DELETE", "/1.0/profiles/lent"}, Change{"PUT", "/1.0/images/" + image, {{"public", true}}},
                  Change{"PATCH", "/1.0/images/" + image, {{"public", true}}}, Change{"DELETE", "/1.0/images/" + image}, Change{"POST", "/1.0/images/" + image + "/secret"},
                  Change{"POST", "/1.0/images/" + image + "/refresh"}, Change{"POST", "/1.0/images/" + image + "/export", {{"target", "https://x"}, {"secret", "x"}}},
                  Change{"PUT", "/1.0/images/aliases/lent", {{"target", image}}}, Change{"PATCH", "/1.0/images/aliases/lent", {{"description", "x"}}},
                  Change{"POST", "/1.0/images/aliases/lent", {{"name", "other"}}}, Change{"DELETE", "/1.0/images/aliases/lent"}, Change{"PUT", volume, {{"description", "x"}}},
                  Change{"PATCH", volume, {{"description", "x"}}}, Change{"POST", volume, {{"name", "other"}}}, Change{"DELETE", volume},
                  Change{"POST", volume + "/snapshots", {{"name", "s2"}}}, Change{"PUT", volume + "/snapshots/snap", {{"description", "x"}}},
                  Change{"PATCH", volume + "/snapshots/snap", {{"description", "x"}}}, Change{"POST", volume + "/snapshots/snap", {{"name", "other"}}},
                  Change{"DELETE", volume + "/snapshots/snap"}}) {
    CAPTURE(c.method);
    CAPTURE(c.path);
    CHECK(s.once(&me, c.method, c.path + q, c.body).status == 403);
  }
  CHECK_FALSE(s.ask("GET", "/1.0/profiles/default").at("config").as_object().contains("security.privileged"));
  CHECK(s.ask("GET", "/1.0/images/" + image).at("public") == false);
  // An administrator changes it through that project, too.
  s.ask("PATCH", "/1.0/profiles/lent" + q, {{"description", "by its owner"}});
  CHECK(s.ask("GET", "/1.0/profiles/lent").at("description") == "by its owner");
}

TEST_CASE("trust over TLS: who uses a network in other projects is told to nobody") {
  Served s;
  s.ask("POST", "/1.0/projects", {{"name", "theirs"}});
  auto links = s.ask("GET", "/1.0/networks?recursion=1").as_array();
  auto found = std::find_if(links.begin(), links.end(), [](auto &l) { return l.at("type") != "loopback"; });
  std::string link = found == links.end() ? "br-none" : std::string(found->at("name").as_string());
  if (found == links.end()) {
    REQUIRE(std::system("ip link add br-none type bridge") == 0);
  }
  auto devices = s.root().as_object();
  devices["eth0"] = {{"type", "nic"}, {"nictype", "bridged"}, {"parent", link}};
  s.ask("POST", "/1.0/profiles?project=theirs", {{"name", "hidden-profile"}, {"devices", devices}});
  auto me = s.tenant("me", "default");
  CHECK(json::serialize(s.ask("GET", "/1.0/networks/" + link)).find("hidden") != std::string::npos);
  CHECK(s.once(&me, "GET", "/1.0/networks/" + link).status == 200);
  for (std::string path : {"/1.0/networks/" + link, std::string("/1.0/networks?recursion=1")}) CHECK(s.once(&me, "GET", path).text.find("hidden") == std::string::npos);
  if (found == links.end()) CHECK(std::system("ip link del br-none") == 0);
}

TEST_CASE("trust over TLS: nobody in particular may not say much, and hears why") {
  Served s("test://");
  auto me = rest::make_key_pair("me", {});
  // More than sockets hold: the answer comes though the rest is not read.
  auto much = json::object{{"type", "client"}, {"trust_token", std::string(12 << 20, 'x')}};
  CHECK(s.once(&me, "POST", "/1.0/certificates", much).status == 413);
  CHECK(s.once(nullptr, "POST", "/1.0/certificates", much).status == 413);
  CHECK(s.once(&me, "POST", "/1.0/profiles", much).status == 403);
}

TEST_CASE("trust over TLS: a server in front of another one serves administrators alone") {
  Served back("test://");
  auto socket = back.dir + "/back.socket";
  back.server->listen_unix(socket);
  auto admin = rest::make_key_pair("admin", {}), nobody = rest::make_key_pair("nobody", {});
  back.ask("POST", "/1.0/certificates", {{"type", "client"}, {"name", "admin"}, {"certificate", admin.certificate}});
  auto tenant = back.tenant("tenant", "default");
  char dir[] = "/tmp/incus-front-XXXXXX";
  REQUIRE(::mkdtemp(dir));
  {
    auto host = Host::open("unix://" + socket);
    ServerOptions options;
    options.certificate_directory = options.spool_directory = dir;
    options.follow_config = false;
    Server front(host, options);
    auto port = free_port();
    front.listen_https("127.0.0.1:" + std::to_string(port));
    auto ask = [&](const rest::KeyPair *pair, const std::string &method, const std::string &path, const json::value &body = nullptr) {
      Connection c(port, pair);
      REQUIRE(c.connected());
      return c.ask(method, path, body);
    };
    CHECK(ask(&admin, "GET", "/1.0/instances").status == 200);
    for (auto *pair : {static_cast<const rest::KeyPair *>(nullptr), static_cast<const rest::KeyPair *>(&nobody), static_cast<const rest::KeyPair *>(&tenant)}) {
      CHECK(ask(pair, "POST", "/1.0/certificates", {{"type", "client"}, {"name", "evil"}, {"certificate", nobody.certificate}}).status == 403);
      CHECK(ask(pair, "GET", "/1.0/images").status == 403);
      CHECK(ask(pair, "GET", "/1.0").status == 403);
    }
  }
  fs::remove_all(dir);
  CHECK(back.ask("GET", "/1.0/certificates").as_array().size() == 2);
}

namespace {

/// A proxy that knows one name, which nobody else does, and counts who came through it.
class NamingProxy {
public:
  explicit NamingProxy(int to) : to_(to), port_(free_port()), fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in at = local(port_);
    int yes = 1;
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    REQUIRE(::bind(fd_.get(), reinterpret_cast<sockaddr *>(&at), sizeof at) == 0);
    REQUIRE(::listen(fd_.get(), 64) == 0);
    threads_.emplace_back([this] {
      for (int c; (c = ::accept4(fd_.get(), nullptr, nullptr, SOCK_CLOEXEC)) >= 0;) {
        std::lock_guard lock(mutex_);
        open_.push_back(c);
        threads_.emplace_back([this, c] { serve(c); });
      }
    });
  }
  ~NamingProxy() {
    ::shutdown(fd_.get(), SHUT_RDWR);
    threads_.front().join();
    for (int c : open_) ::shutdown(c, SHUT_RDWR);
    for (auto it = std::next(threads_.begin()); it != threads_.end(); ++it) it->join();
    for (int c : open_) ::close(c);
  }
  int port() const { return port_; }
  int through() const { return through_; }

private:
  static sockaddr_in local(int port) {
    sockaddr_in at{};
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    at.sin_port = htons(static_cast<std::uint16_t>(port));
    return at;
  }
  void serve(int c) {
    std::string head;
    for (char b; head.find("\r\n\r\n") == head.npos;) {
      if (::recv(c, &b, 1, 0) != 1) return;
      head += b;
    }
    base::Fd on(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    auto at = local(to_);
    bool known = head.starts_with("CONNECT far.test:8443 ") && ::connect(on.get(), reinterpret_cast<sockaddr *>(&at), sizeof at) == 0;
    std::string answer = known ? "HTTP/1.1 200 OK\r\n\r\n" : "HTTP/1.1 404 Not Found\r\n\r\n";
    ::send(c, answer.data(), answer.size(), MSG_NOSIGNAL);
    if (known) through_++;
    pollfd p[2] = {{c, POLLIN, 0}, {on.get(), POLLIN, 0}};
    while (known && ::poll(p, 2, -1) > 0)
      for (int i = 0; i < 2; i++) {
        if (!p[i].revents) continue;
        char piece[4096];
        auto n = ::recv(p[i].fd, piece, sizeof piece, 0);
        if (n <= 0 || ::send(p[1 - i].fd, piece, static_cast<std::size_t>(n), MSG_NOSIGNAL) != n) known = false;
      }
    ::shutdown(c, SHUT_RDWR);
  }
  int to_, port_;
  base::Fd fd_;
  std::atomic<int> through_{0};
  std::mutex mutex_;
  std::list<std::thread> threads_;
  std::vector<int> open_;
};

} // namespace

TEST_CASE("trust over TLS: commands, consoles and events of a server behind a proxy") {
  Served s("test://");
  s.host->on_exec("", [](const std::string &, const ExecRequest &r, const std::string &input) { return ExecResult{3, r.command.at(0) + input, "err"}; });
  s.done("/1.0/instances", {{"name", "c1"}, {"start", true}, {"source", {{"type", "none"}}}, {"devices", s.root()}});
  auto me = rest::make_key_pair("me", {});
  s.ask("POST", "/1.0/certificates", {{"type", "client"}, {"name", "me"}, {"certificate", me.certificate}});
  OpenOptions how;
  how.client_certificate = me.certificate;
  how.client_key = me.key;
  how.server_certificate = s.dir + "/server.crt";
  const std::string address = "https://far.test:8443";
  CHECK_THROWS_AS(Host::open(address, how).info(), Error); // nobody but the proxy knows that name
  NamingProxy proxy(s.port);
  ::setenv("HTTPS_PROXY", ("http://127.0.0.1:" + std::to_string(proxy.port())).c_str(), 1);
  {
    auto far = Host::open(address, how);
    CHECK(far.info().auth == "trusted");
    auto events = far.listen({"lifecycle"});
    int before = proxy.through();
    auto r = far.instance("c1").exec({"say"}, "hello");
    CHECK(r.exit_code == 3);
    CHECK(r.stdout_data == "sayhello");
    CHECK(r.stderr_data == "err");
    CHECK(proxy.through() >= before + 3); // one websocket a stream at least
    bool saw = false;
    while (auto e = events.next(std::chrono::seconds(20)))
      if ((saw = e->metadata.text.find("instance-exec") != std::string::npos)) break;
    CHECK(saw);
    int in[2], out[2];
    REQUIRE(::pipe2(in, O_CLOEXEC) == 0);
    REQUIRE(::pipe2(out, O_CLOEXEC) == 0);
    base::Fd to(in[1]), from(out[0]), theirs(in[0]), answers(out[1]);
    RawCall call;
    call.method = "POST";
    call.path = "/1.0/instances/c1/console";
    call.body = R"({"type":"console","width":80,"height":24})";
    call.streams = {{"stdin", theirs.get()}, {"stdout", answers.get()}};
    before = proxy.through();
    auto op = far.call(call).operation;
    REQUIRE(op);
    theirs.reset();
    answers.reset();
    // A websocket for the terminal and one for control; the guest here says nothing.
    for (int i = 0; i < 2000 && proxy.through() < before + 2; i++) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    CHECK(proxy.through() >= before + 2);
    CHECK(op->info().status == "Running");
  }
  ::unsetenv("HTTPS_PROXY");
}
