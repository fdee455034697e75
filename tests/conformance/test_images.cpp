// SPDX-License-Identifier: Apache-2.0
#include <fstream>

#include "suite.hpp"

using namespace suite;

TEST_CASE("images: from import to deletion") {
  World w;
  auto before = std::chrono::system_clock::now() - 1s;
  auto file = small_image("one");
  auto print = sha256(file);
  ImageImport how;
  how.alias = "one";
  how.aliases = {"small/one"};
  how.properties = {{"release", "7"}, {"os", "overridden"}};
  how.public_ = true;
  auto done = w.host.import_image(file, how).wait();
  CHECK(done.metadata.text.find(print) != std::string::npos);
  auto image = w.host.image("one");
  auto i = image.info();
  CHECK(i.fingerprint == print);
  CHECK(i.size == static_cast<std::int64_t>(std::filesystem::file_size(file)));
  CHECK(i.type == "container");
  CHECK(i.architecture == architecture());
  CHECK(i.public_);
  CHECK_FALSE(i.cached);
  CHECK_FALSE(i.auto_update);
  CHECK(i.filename == "one.tar");
  CHECK(i.created_at == Time(std::chrono::seconds(1700000000)));
  CHECK(i.uploaded_at > before);
  CHECK(i.properties == Config{{"os", "overridden"}, {"mark", "one"}, {"release", "7"}});
  CHECK(i.aliases.size() == 2);
  CHECK(i.project == "default");
  for (auto &name : {print, print.substr(0, 12), std::string("small/one")}) CHECK(w.host.image(name).info().fingerprint == print);
  CHECK(w.host.images().size() == 2);

  REFUSED(already_exists, print, w.host.import_image(file).wait());
  CHECK(w.host.images().size() == 2);

  ImageUpdate u;
  u.properties = {{"os", "x"}};
  u.profiles = {"default"};
  Etag stale;
  image.info(&stale);
  image.update(u, stale);
  i = image.info();
  CHECK(i.properties == Config{{"os", "x"}});
  CHECK_FALSE(i.public_);
  REFUSED(precondition_failed, "\"one\"", image.update(u, stale));

  image.remove().wait();
  REFUSED(not_found, "\"one\"", image.info());
  REFUSED(not_found, "one", w.host.image_alias("small/one"));
  CHECK(w.host.images().size() == 1);
  w.host.import_image(file).wait(); // again
}

TEST_CASE("images: exported as they came") {
  World w;
  auto file = small_image("bytes");
  ImageImport how;
  how.alias = "bytes";
  w.host.import_image(file, how).wait();
  auto to = scratch() + "/exported.tar";
  CHECK(w.host.image("bytes").export_to(to) == std::vector<std::string>{to});
  CHECK(read_file(to) == read_file(file));
  REFUSED(already_exists, to, w.host.image("bytes").export_to(to));
  std::filesystem::remove(to);
  REFUSED(not_found, "\"ghost\"", w.host.image("ghost").export_to(to));
  CHECK_FALSE(std::filesystem::exists(to));
}

TEST_CASE("images: aliases") {
  World w;
  w.host.import_image(small_image("a1")).wait();
  w.host.import_image(small_image("a2")).wait();
  auto p1 = sha256(scratch() + "/a1.tar"), p2 = sha256(scratch() + "/a2.tar");
  w.host.create_image_alias("first", p1, "the first");
  auto a = w.host.image_alias("first");
  CHECK(a.name == "first");
  CHECK(a.target == p1);
  CHECK(a.description == "the first");
  CHECK(a.type == "container");
  REFUSED(already_exists, "\"first\"", w.host.create_image_alias("first", p2));
  REFUSED(not_found, "ffff", w.host.create_image_alias("second", std::string(64, 'f')));
  w.host.create_image_alias("second", p2);
  REFUSED(already_exists, "\"second\"", w.host.rename_image_alias("first", "second"));
  w.host.rename_image_alias("first", "third/and/more");
  CHECK(w.host.image("third/and/more").info().fingerprint == p1);
  REFUSED(not_found, "\"first\"", w.host.image_alias("first"));
  REFUSED(not_found, "\"first\"", w.host.rename_image_alias("first", "x"));
  REFUSED(not_found, "\"first\"", w.host.delete_image_alias("first"));
  w.host.delete_image_alias("second");
  REFUSED(not_found, "\"second\"", w.host.image("second").info());
  std::vector<std::string> all;
  for (auto &one : w.host.image_aliases()) all.push_back(one.name);
  std::sort(all.begin(), all.end());
  CHECK(all == std::vector<std::string>{"busy", "third/and/more"});

  // An alias that is taken: refused, or moved when asked for.
  auto file = small_image("a3");
  ImageImport how;
  how.alias = "third/and/more";
  REFUSED(already_exists, "third/and/more", w.host.import_image(file, how).wait());
  REFUSED(not_found, "", w.host.image(sha256(file)).info());
  how.reuse = true;
  w.host.import_image(file, how).wait();
  CHECK(w.host.image_alias("third/and/more").target == sha256(file));
  how.alias = "../x";
  REFUSED(invalid_argument, "invalid image alias", w.host.import_image(small_image("a4"), how).wait());
}

TEST_CASE("images: found by properties") {
  World w;
  w.host.import_image(small_image("found")).wait();
  InstanceCreate r;
  r.name = "c1";
  r.source.type = "image";
  r.source.properties = {{"mark", "found"}, {"os", "small"}};
  w.host.create_instance(r).wait();
  CHECK(w.host.instance("c1").info().config.at("volatile.base_image") == sha256(scratch() + "/found.tar"));
}

TEST_CASE("images: instances outlive theirs") {
  World w;
  ImageImport how;
  how.alias = "twin";
  auto to = scratch() + "/twin.tar";
  w.host.import_image(small_image("twin"), how).wait();
  InstanceCreate r;
  r.name = "c1";
  r.source.alias = "twin";
  w.host.create_instance(r).wait();
  w.host.image("twin").remove().wait();
  auto c = w.host.instance("c1");
  CHECK(c.info().config.at("image.mark") == "twin");
  c.create_snapshot({}).wait();
  c.restore("snap0").wait();
  InstanceCreate k;
  k.name = "c2";
  k.source.source = "c1";
  w.host.create_instance(k).wait();
  c.remove().wait();
  // The same image can come back.
  w.host.import_image(to, how).wait();
  r.name = "c3";
  w.host.create_instance(r).wait();
}

TEST_CASE("images: what is none is refused, and nothing is kept") {
  World w;
  auto file = [](const char *name, const std::string &content) {
    auto path = scratch() + "/" + name;
    std::ofstream(path, std::ios::binary) << content;
    return path;
  };
  auto refused = [&](const std::string &path) {
    CAPTURE(path);
    auto a = attempt([&] { w.host.import_image(path).wait(); });
    CHECK((a.code == ErrorCode::corrupt || a.code == ErrorCode::invalid_argument));
    CHECK(a.text.size() > 10);
  };
  refused(file("empty", ""));
  refused(file("text", "this is no archive\n"));
  refused(file("zeros", std::string(100000, '\0')));
  auto good = read_file(small_image("good"));
  refused(file("short", good.substr(0, 700)));
  refused(file("shorter", good.substr(0, 512)));
  auto bad_yaml = good;
  bad_yaml.replace(bad_yaml.find("architecture:"), 13, "architecture{");
  refused(file("yaml", bad_yaml));
  REFUSED(not_found, "no-such-file", w.host.import_image(scratch() + "/no-such-file").wait());
  REFUSED(invalid_argument, "", w.host.import_image("").wait());
  CHECK(w.host.images().size() == 1);
  CHECK(w.host.image_aliases().size() == 1);
}
