// SPDX-License-Identifier: Apache-2.0
// Who is not trusted sees public images and what a secret opens, and cannot tell what is hidden from what is not there.
#include <boost/json.hpp>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <filesystem>
#include <fstream>

#include "../support/tar.hpp"
#include "base/error.hpp"
#include "embed/engine.hpp"

using namespace incus;
namespace json = boost::json;
using api::RowId;

namespace {

struct World {
  embed::Engine engine{OpenOptions{}};
  std::shared_ptr<api::Caller> unknown = std::make_shared<api::Caller>();
  std::string dir;
  World() {
    char p[] = "/tmp/incus-image.XXXXXX";
    REQUIRE(::mkdtemp(p));
    dir = p;
  }
  ~World() { std::filesystem::remove_all(dir); }

  api::Reply ask(RowId row, std::vector<std::string> path, bool trusted, std::map<std::string, std::string> query = {}, json::value body = {}) {
    api::Request q;
    q.path = std::move(path);
    q.query = std::move(query);
    q.body = std::move(body);
    if (!trusted) q.caller = unknown;
    return engine.perform(api::row(row), std::move(q));
  }
  std::string refused(RowId row, std::vector<std::string> path, std::map<std::string, std::string> query = {}) {
    try {
      ask(row, std::move(path), false, std::move(query));
    } catch (const Error &e) {
      CHECK(e.code() == ErrorCode::not_found);
      return e.what();
    }
    return "no error";
  }
  std::string import(const std::string &mark, bool open) {
    testing::Tar t;
    t.file("metadata.yaml", "architecture: x86_64\ncreation_date: 1700000000\nproperties:\n  mark: " + mark + "\n");
    t.dir("rootfs/");
    std::ofstream(dir + "/" + mark) << t.str();
    api::Request q;
    json::array aliases;
    aliases.emplace_back(json::object{{"name", mark}, {"description", "d"}});
    q.body = json::object{{"public", open}, {"aliases", std::move(aliases)}};
    q.streams.push_back({"image", base::Fd(::open((dir + "/" + mark).c_str(), O_RDONLY | O_CLOEXEC))});
    auto op = engine.perform(api::row(RowId::images_post), std::move(q)).operation;
    op->wait({});
    op->rethrow();
    return std::string(json::parse(op->info().metadata.text).at("fingerprint").as_string());
  }
};

std::string replaced(std::string text, const std::string &what) {
  for (auto at = text.find(what); at != text.npos; at = text.find(what)) text.replace(at, what.size(), "X");
  return text;
}

} // namespace

TEST_CASE("images: the untrusted view") {
  World w;
  auto open = w.import("open", true), hidden = w.import("hidden", false);
  CHECK(w.ask(RowId::images_get, {}, true).metadata.as_array().size() == 2);
  auto list = w.ask(RowId::images_get, {}, false).metadata.as_array();
  REQUIRE(list.size() == 1);
  CHECK(list[0] == json::value("/1.0/images/" + open));
  CHECK(w.ask(RowId::images_get, {}, false, {{"project", "nothere"}}).metadata.as_array().empty());
  CHECK(w.ask(RowId::image_get, {open}, false).metadata.at("fingerprint") == json::value(open));
  CHECK(w.ask(RowId::image_get, {open.substr(0, 12)}, false).metadata.at("fingerprint") == json::value(open));
  CHECK(w.ask(RowId::alias_get, {"open"}, false).metadata.at("target") == json::value(open));
  CHECK(w.ask(RowId::image_export_get, {open}, false).bodies.size() == 1);

  // The same words for what is hidden and what is not there.
  std::string none(64, '0');
  for (auto row : {RowId::image_get, RowId::image_export_get}) {
    CHECK(replaced(w.refused(row, {hidden}), hidden) == replaced(w.refused(row, {none}), none));
    CHECK(replaced(w.refused(row, {hidden}, {{"secret", "x"}}), hidden) == replaced(w.refused(row, {none}, {{"secret", "x"}}), none));
    CHECK(w.refused(row, {hidden.substr(0, 12)}) != "no error");
    CHECK(w.refused(row, {"hidden"}) != "no error");
    CHECK(w.refused(row, {""}) != "no error");
  }
  CHECK(replaced(w.refused(RowId::alias_get, {"hidden"}), "hidden") == replaced(w.refused(RowId::alias_get, {"nothere"}), "nothere"));
  CHECK(w.refused(RowId::alias_get, {"open"}, {{"project", "nothere"}}) != "no error");
}

TEST_CASE("images: a secret opens one image, for one transfer") {
  World w;
  auto hidden = w.import("hidden", false), other = w.import("other", false);
  auto op = w.ask(RowId::image_secret_post, {hidden}, true).operation;
  auto secret = std::string(json::parse(op->info().metadata.text).at("secret").as_string());
  CHECK(op->info().status == "Running");
  CHECK(w.refused(RowId::image_get, {other}, {{"secret", secret}}) != "no error");
  CHECK(w.refused(RowId::image_get, {hidden.substr(0, 20)}, {{"secret", secret}}) != "no error");
  CHECK(op->info().status == "Running");
  // The record first, then its files.
  CHECK(w.ask(RowId::image_get, {hidden}, false, {{"secret", secret}}).metadata.at("fingerprint") == json::value(hidden));
  CHECK(op->info().status == "Cancelled");
  CHECK(w.ask(RowId::image_export_get, {hidden}, false, {{"secret", secret}}).bodies.size() == 1);
  // One that was taken back opens nothing.
  op = w.ask(RowId::image_secret_post, {hidden}, true).operation;
  secret = std::string(json::parse(op->info().metadata.text).at("secret").as_string());
  op->cancel();
  CHECK(w.refused(RowId::image_export_get, {hidden}, {{"secret", secret}}) != "no error");
}

TEST_CASE("images: secrets run out") {
  embed::ImageSecrets s;
  int ended = 0;
  s.add("k", "default", "f", [&] { ended++; });
  CHECK(!s.use("k", "default", "g"));
  CHECK(!s.use("k", "other", "f"));
  CHECK(!s.use("l", "default", "f"));
  CHECK(ended == 0);
  CHECK(s.use("k", "default", "f"));
  CHECK(s.use("k", "default", "f"));
  CHECK(ended == 1);
  CHECK(s.drop("k"));
  CHECK(!s.drop("k"));
  CHECK(!s.use("k", "default", "f"));
}
