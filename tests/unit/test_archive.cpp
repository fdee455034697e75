// SPDX-License-Identifier: Apache-2.0
// The archive parser on buffers: what it takes, what it refuses, and with which words.
#include <doctest/doctest.h>

#include <functional>
#include <vector>

#include "../support/tar.hpp"
#include "helper/unpack/scan.hpp"

using namespace incus::unpack;
using namespace incus::testing;

namespace {

Report look(const std::string &file, Shape shape = Shape::unified, Limits limits = {}) {
  MemoryStream in(file.data(), file.size());
  auto c = detect(reinterpret_cast<const unsigned char *>(file.data()), file.size());
  auto plain = decoder(c, in);
  DirectBlocks blocks(*plain);
  return scan(blocks, shape, limits);
}
std::string refusal(const std::string &file, Shape shape = Shape::unified, Limits limits = {}) {
  try {
    look(file, shape, limits);
  } catch (const Failure &f) {
    return f.code + ": " + f.text;
  }
  return "";
}
bool has(const std::string &text, const std::string &part) { return text.find(part) != std::string::npos; }
/// An image with one more piece at its end.
std::string with(const std::function<void(Tar &)> &more) {
  Tar t = good_image();
  more(t);
  return t.str();
}
struct Form {
  const char *name;
  std::string (*make)(const std::string &);
};
const std::vector<Form> forms = {{"", [](const std::string &s) { return s; }}, {"gzip", gzip}, {"xz", xz}, {"zstd", zstd}, {"bzip2", bzip2}};

} // namespace

TEST_CASE("an image in every compression") {
  for (auto &form : forms) {
    std::string file = form.make(good_image().str());
    auto r = look(file);
    CHECK(r.metadata == good_metadata());
    CHECK_FALSE(r.rootfs_image);
    CHECK(std::string(name_of(detect(reinterpret_cast<const unsigned char *>(file.data()), file.size()))) == form.name);
  }
  Tar dotted;
  dotted.dir("./").file("./metadata.yaml", good_metadata()).dir("./rootfs").file("./rootfs//etc/./passwd").file("other", "ignored");
  CHECK(look(dotted.str()).metadata == good_metadata());
  Tar machine;
  CHECK(look(machine.file("metadata.yaml", good_metadata()).file("rootfs.img", "disk").str()).rootfs_image);
  Tar implied;
  CHECK(look(implied.file("metadata.yaml", good_metadata()).file("rootfs/a").dir("rootfs").str()).metadata == good_metadata());
}

TEST_CASE("cut anywhere, an image is refused or whole") {
  std::string tar = good_image().str();
  for (auto &form : forms) {
    std::string file = form.make(tar);
    for (std::size_t n = 0; n < file.size(); n++) {
      std::string why = refusal(file.substr(0, n));
      // A tar is complete from the first block of its end marker on; a gzip's or xz's last byte counts.
      bool whole = !*form.name && n >= tar.size() - 512;
      if (why.empty() != whole) FAIL(form.name, " cut at ", n, " of ", file.size(), ": ", why);
      if (!why.empty() && !why.starts_with("corrupt: ")) FAIL(form.name, " cut at ", n, ": ", why);
    }
  }
}

TEST_CASE("damage and garbage in compressed data") {
  std::string tar = good_image().str();
  for (auto &form : forms) {
    if (!*form.name) continue;
    std::string file = form.make(tar);
    CHECK_MESSAGE(refusal(file + "garbage after the end").starts_with("corrupt: "), form.name);
    CHECK_MESSAGE(refusal(file + "g").starts_with("corrupt: "), form.name);
    for (std::size_t n = 12; n < file.size(); n += 7) {
      std::string bad = file;
      bad[n] = static_cast<char>(bad[n] ^ 0x55);
      std::string why = refusal(bad);
      if (why.empty() && look(bad).metadata != good_metadata()) FAIL(form.name, " with byte ", n, " changed is taken");
    }
    // Two streams one after the other are one file.
    CHECK(look(form.make(tar.substr(0, 700)) + form.make(tar.substr(700))).metadata == good_metadata());
  }
  CHECK(look(gzip(tar) + std::string(512, '\0')).metadata == good_metadata());
}

TEST_CASE("only tar, only the known compressions") {
  for (std::string not_tar : {std::string("PK\x03\x04 a zip"), std::string("070701 a cpio"), std::string("Rar!\x1a\x07"), std::string("\x04\x22\x4d\x18 lz4"),
                              std::string("#mtree\n"), std::string(600, 'x'), std::string("hsqs")})
    CHECK(has(refusal(not_tar), "not a tar archive, plain or compressed with gzip, xz, zstd or bzip2"));
  CHECK(refusal("") != "");
  CHECK(has(refusal(std::string(10240, '\0')), "holds no metadata.yaml"));
}

TEST_CASE("what must be there") {
  CHECK(refusal(Tar().dir("rootfs").str()) == "corrupt: the archive holds no metadata.yaml at its top");
  CHECK(refusal(Tar().file("metadata.yaml", "x").str()) == "corrupt: the archive holds neither rootfs nor rootfs.img at its top");
  CHECK(has(refusal(Tar().file("sub/metadata.yaml", "x").dir("rootfs").str()), "no metadata.yaml"));
  CHECK(look(good_image().str(), Shape::metadata).metadata == good_metadata()); // what it has of a rootfs lies below the other file's
  CHECK(has(refusal(Tar().file("metadata.yaml", "x").file("rootfs.img").str(), Shape::metadata), "the metadata archive holds \"rootfs.img\""));
  CHECK(has(refusal(Tar().file("metadata.yaml", "x").file("out").hardlink("rootfs/in", "out").str(), Shape::metadata), "outside rootfs"));
  CHECK(look(Tar().file("metadata.yaml", "x").str(), Shape::metadata).metadata == "x");
  CHECK(refusal(Tar().file("etc/passwd").str(), Shape::rootfs) == "");
  CHECK(has(refusal(std::string(1024, '\0'), Shape::rootfs), "the rootfs archive is empty"));
  CHECK(has(refusal(Tar().file("metadata.yaml", "x").dir("rootfs").file("rootfs.img").str()), "both"));
}

TEST_CASE("every top-level name as link, as other type and twice") {
  auto base = [](const std::string &without) {
    Tar t;
    if (without != "metadata.yaml") t.file("metadata.yaml", good_metadata());
    if (without != "rootfs") t.dir("rootfs");
    t.file("rootfs/file", "x");
    return t;
  };
  for (std::string name : {"metadata.yaml", "rootfs", "templates"}) {
    INFO(name);
    CHECK(has(refusal(base(name).symlink(name, "/etc").str()), "top-level entry \"" + name + "\" is not a"));
    CHECK(has(refusal(base(name).hardlink(name, "rootfs/file").str()), "top-level entry \"" + name + "\" is not a"));
    CHECK(has(refusal(base(name).add({.name = name, .type = '3', .major = 1, .minor = 3}).str()), "top-level entry \"" + name + "\" is not a"));
    CHECK(has(refusal(base(name).add({.name = "./" + name, .type = '6'}).str()), "top-level entry \"" + name + "\" is not a"));
    for (std::string again : {name, "./" + name, name + "/", ".//" + name}) {
      CHECK(has(refusal(base("").dir("templates").symlink(again, "/etc").str()), "top-level entry \"" + name + "\" is not a"));
      Tar twice = base("").dir("templates");
      if (name == "metadata.yaml" && !again.ends_with('/'))
        twice.file(again, "second");
      else
        twice.dir(again);
      CHECK_MESSAGE(has(refusal(twice.str()), "\"" + name + "\""), again);
    }
  }
  CHECK(has(refusal(with([](Tar &t) { t.symlink("templates/a.tpl", "/etc/shadow"); })), "template \"templates/a.tpl\" is not a regular file"));
  CHECK(has(refusal(with([](Tar &t) { t.hardlink("templates/a.tpl", "rootfs/bin/sh"); })), "template \"templates/a.tpl\" is not a regular file"));
  CHECK(has(refusal(with([](Tar &t) { t.file("templates/hostname.tpl", "again"); })), "template \"templates/hostname.tpl\" comes twice"));
  CHECK(has(refusal(with([](Tar &t) { t.file("templates/a/b", "x"); })), "in a directory of its own"));
  CHECK(has(refusal(with([](Tar &t) { t.add({.name = "null", .type = '3', .major = 1, .minor = 3}); })), "outside rootfs is a device node"));
}

TEST_CASE("the parts of an image may be written with a '/' before them") {
  CHECK(refusal(with([](Tar &t) { t.file("/rootfs/etc/one", "x"); })) == "");
  CHECK(refusal(with([](Tar &t) { t.file("/templates/one.tpl", "x"); })) == "");
  CHECK(has(refusal(with([](Tar &t) { t.file("/rootfs/../../x"); })), "has a component \"..\""));
  CHECK(has(refusal(with([](Tar &t) { t.file("/rootfsx/y"); })), "is absolute"));
  CHECK(has(refusal(with([](Tar &t) { t.hardlink("rootfs/h", "/rootfs/bin/sh"); })), "is absolute"));
  CHECK(has(refusal(with([](Tar &t) { t.symlink("/metadata.yaml", "/etc/shadow"); })), "\"metadata.yaml\""));
}

TEST_CASE("nothing leaves its directory") {
  CHECK(has(refusal(with([](Tar &t) { t.file("/etc/passwd"); })), "name \"/etc/passwd\" is absolute"));
  CHECK(has(refusal(with([](Tar &t) { t.file("rootfs/../../x"); })), "name \"rootfs/../../x\" has a component \"..\""));
  CHECK(has(refusal(with([](Tar &t) { t.file(".."); })), "has a component \"..\""));
  CHECK(refusal(with([](Tar &t) { t.file("rootfs/..x/...", "x"); })) == "");
  CHECK(has(refusal(with([](Tar &t) { t.symlink("rootfs/link", "/etc").file("rootfs/link/passwd", "x"); })), "goes through the symbolic link \"rootfs/link\""));
  CHECK(has(refusal(with([](Tar &t) { t.symlink("rootfs/a", "..").hardlink("rootfs/b", "rootfs/a").dir("rootfs/b/c"); })), "goes through the symbolic link"));
  CHECK(refusal(with([](Tar &t) { t.symlink("rootfs/link", "/etc").dir("rootfs/link").file("rootfs/link/passwd", "x"); })) == "");
  CHECK(has(refusal(with([](Tar &t) { t.hardlink("rootfs/h", "/etc/passwd"); })), "hard link target \"/etc/passwd\" is absolute"));
  CHECK(has(refusal(with([](Tar &t) { t.hardlink("rootfs/h", "rootfs/../../etc/passwd"); })), "has a component \"..\""));
  CHECK(has(refusal(with([](Tar &t) { t.hardlink("rootfs/h", "metadata.yaml"); })), "outside rootfs"));
  CHECK(has(refusal(with([](Tar &t) { t.hardlink("rootfs/h", "rootfs/nothing"); })), "does not come before it"));
  CHECK(has(refusal(with([](Tar &t) { t.symlink("rootfs/l", "/").hardlink("rootfs/h", "rootfs/l/etc/passwd"); })), "goes through the symbolic link"));
  CHECK(has(refusal(Tar().symlink("a", "/etc").file("a/passwd").str(), Shape::rootfs), "goes through the symbolic link \"a\""));
  CHECK(has(refusal(Tar().symlink("./", "/etc").str(), Shape::rootfs), "is not a directory"));
}

TEST_CASE("names by pax and GNU headers are judged as any") {
  CHECK(has(refusal(with([](Tar &t) { t.pax("path", "/etc/passwd").file("rootfs/harmless"); })), "is absolute"));
  CHECK(has(refusal(with([](Tar &t) { t.pax("path", "rootfs/../../x").file("rootfs/harmless"); })), "has a component \"..\""));
  CHECK(has(refusal(with([](Tar &t) { t.pax("path", "metadata.yaml").file("rootfs/harmless"); })), "comes twice"));
  CHECK(has(refusal(with([](Tar &t) { t.pax("linkpath", "/etc/passwd").hardlink("rootfs/h", "rootfs/bin/sh"); })), "is absolute"));
  CHECK(has(refusal(with([](Tar &t) { t.add({.name = "././@LongLink", .type = 'L', .content = "rootfs/../../x"}).file("rootfs/harmless"); })), "has a component"));
  // A NUL ends a name, as everywhere; what stands before it is judged.
  CHECK(has(refusal(with([](Tar &t) { t.add({.name = "././@LongLink", .type = 'L', .content = std::string("metadata.yaml\0x", 15)}).file("rootfs/h"); })),
            "comes twice"));
  CHECK(has(refusal(with([](Tar &t) { t.pax("path", std::string("../x\0y", 6)).file("rootfs/h"); })), "corrupt: "));
  CHECK(has(refusal(with([](Tar &t) { t.pax("path", "rootfs/" + std::string(300, 'n')).file("rootfs/h"); })), "longer than 255"));
  std::string deep = "rootfs";
  for (int i = 0; i < 1000; i++) deep += "/abcde";
  CHECK(has(refusal(with([&](Tar &t) { t.pax("path", deep).file("rootfs/h"); })), "longer than 4096"));
  CHECK(refusal(with([](Tar &t) { t.pax("path", "rootfs/\xff\xfe not UTF-8").file("rootfs/h"); })) == "");
}

TEST_CASE("sizes that cannot be") {
  CHECK(has(refusal(with([](Tar &t) { t.add({.name = "rootfs/big", .size_field = "77777777777"}); })), "corrupt: "));
  CHECK(has(refusal(with([](Tar &t) { t.add({.name = "rootfs/neg", .size_field = std::string("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xf0", 12)}); })), "corrupt: "));
  CHECK(has(refusal(with([](Tar &t) { t.pax("size", "-5").file("rootfs/neg"); })), "corrupt: "));
  CHECK(has(refusal(with([](Tar &t) { t.pax("size", "99999999999999999999999").file("rootfs/big"); })), "corrupt: "));
  CHECK(has(refusal(Tar().dir("rootfs").add({.name = "metadata.yaml", .size_field = "10000000000"}).str()), "metadata.yaml is larger than 1048576 bytes"));
  CHECK(has(refusal(Tar().dir("rootfs").file("metadata.yaml", std::string((1 << 20) + 1, 'x')).str()), "metadata.yaml is larger than 1048576 bytes"));
  // A sparse metadata.yaml of a terabyte in a few bytes.
  Tar sparse;
  sparse.dir("rootfs").pax("GNU.sparse.major", "0").pax("GNU.sparse.size", "1099511627776").file("metadata.yaml", "x");
  CHECK(refusal(sparse.str()) != "");
  CHECK(has(refusal(good_image().str(), Shape::unified, {.entries = 5}), "too_large: the archive holds more than 5 entries"));
  CHECK(has(refusal(good_image().str(), Shape::unified, {.entries = 100, .bytes = 1000}), "too_large: the archive holds more than 1000 bytes"));
}

TEST_CASE("read ahead gives the same bytes and errors") {
  std::string tar = good_image().str() + std::string(9 << 20, '\0');
  std::string file = gzip(tar);
  auto through = [](const std::string &text) {
    MemoryStream in(text.data(), text.size());
    auto plain = decoder(Compression::gzip, in);
    ReadAhead blocks(*plain);
    std::string out;
    const void *p;
    while (auto n = blocks.next(&p)) out.append(static_cast<const char *>(p), n);
    return out;
  };
  CHECK(through(file) == tar);
  CHECK_THROWS_AS(through(file.substr(0, file.size() - 3)), const Failure &);
  MemoryStream in(file.data(), file.size());
  auto plain = decoder(Compression::gzip, in);
  ReadAhead left_early(*plain);
  const void *p;
  CHECK(left_early.next(&p) > 0);
}
