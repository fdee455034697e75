// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include "base/error.hpp"
#include "image/image.hpp"

using namespace incus;
using namespace incus::image;

namespace {
std::string refusal(const std::string &yaml) {
  try {
    parse_metadata(yaml);
  } catch (const Error &e) {
    CHECK(e.code() == ErrorCode::corrupt);
    CHECK(std::string(e.what()).starts_with("metadata.yaml "));
    return e.what();
  }
  return "";
}
bool has(const std::string &text, const std::string &part) { return text.find(part) != std::string::npos; }
const std::string head = "architecture: x86_64\ncreation_date: 1700000000\n";
std::string with_template(const std::string &target, const std::string &body) { return head + "templates:\n  \"" + target + "\":\n" + body; }
} // namespace

TEST_CASE("a whole metadata.yaml") {
  auto m = parse_metadata(R"(architecture: amd64
creation_date: 1700000000
expiry_date: 1800000000
properties:
  os: Debian
  release: 12
  requirements.privileged: false
  empty:
templates:
  /etc/hostname:
    when:
      - create
      - copy
    create_only: true
    template: hostname.tpl
    properties:
      foo: bar
    uid: 1000
    gid: "1001"
    mode: 0640
  /etc/hosts:
    when: [start]
    template: hosts.tpl
    later_key: [a, b]
later: {x: y}
)");
  CHECK(m.architecture == "x86_64");
  CHECK(m.creation_date == Time(std::chrono::seconds(1700000000)));
  CHECK(m.expiry_date == Time(std::chrono::seconds(1800000000)));
  CHECK(m.properties == Config{{"empty", ""}, {"os", "Debian"}, {"release", "12"}, {"requirements.privileged", "false"}});
  REQUIRE(m.templates.size() == 2);
  auto &t = m.templates.at("/etc/hostname");
  CHECK(t.when == std::vector<std::string>{"create", "copy"});
  CHECK(t.create_only);
  CHECK(t.source == "hostname.tpl");
  CHECK(t.properties == Config{{"foo", "bar"}});
  CHECK(t.uid == "1000");
  CHECK(t.gid == "1001");
  CHECK(t.mode == "0640");
  CHECK(m.templates.at("/etc/hosts").when == std::vector<std::string>{"start"});
  CHECK(parse_metadata(head).expiry_date == Time());
  CHECK(parse_metadata("{\"architecture\": \"aarch64\", \"creation_date\": 1}").architecture == "aarch64"); // JSON is YAML
}

TEST_CASE("what metadata.yaml must hold") {
  CHECK(refusal("") == "metadata.yaml is empty");
  CHECK(refusal("creation_date: 1\n") == "metadata.yaml holds no architecture, which is required");
  CHECK(refusal("architecture: x86_64\n") == "metadata.yaml holds no creation_date, which is required");
  CHECK(refusal("architecture: vax\ncreation_date: 1\n") == "metadata.yaml line 1: architecture \"vax\" is not known; x86_64 and aarch64 are examples");
  for (auto *date : {"yesterday", "-1", "0", "1.5", "99999999999", "99999999999999999999999999", "''", "[1]"})
    CHECK_MESSAGE(has(refusal(std::string("architecture: x86_64\ncreation_date: ") + date + "\n"), "line 2: creation_date"), date);
  CHECK(has(refusal(head + "expiry_date: soon\n"), "line 3: expiry_date \"soon\" must be seconds since 1970"));
  CHECK(has(refusal(head + "properties: [a]\n"), "properties must be a map"));
  CHECK(has(refusal(head + "properties:\n  a: [b]\n"), "line 4: \"a\" of properties must be a text"));
  CHECK(has(refusal(head + "architecture: x86_64\n"), "line 3: key \"architecture\" of the document comes twice"));
  CHECK(has(refusal(head + "properties:\n  a: b\n  a: c\n"), "line 5: key \"a\" of properties comes twice"));
  CHECK(has(refusal("- a\n- b\n"), "the document must be a map"));
  CHECK(has(refusal("just text"), "the document must be a map"));
  CHECK(has(refusal(head + "---\n" + head), "more than one document"));
  CHECK(has(refusal("architecture: [x86_64"), "line "));
}

TEST_CASE("metadata.yaml cannot grow or nest") {
  CHECK(has(refusal(head + "a: &x [1, 2]\nb: *x\n"), "line 3: anchors are not allowed"));
  CHECK(has(refusal(head + "b: *x\n"), "line 3: "));
  CHECK(refusal(std::string((1 << 20) + 1, ' ')) == "metadata.yaml is larger than 1048576 bytes");
  CHECK(has(refusal(head + "a: " + std::string(40, '[') + std::string(40, ']') + "\n"), "line 3: nested deeper than 32 levels"));
  CHECK(has(refusal(head + "a: " + std::string(500'000, '[')), "nested deeper than 32 levels"));
  CHECK(has(refusal(head + "a: " + std::string(500'000, '{')), "nested deeper than 32 levels"));
  std::string dashes, indented;
  for (int i = 0; i < 100'000; i++) dashes += "- ";
  CHECK(has(refusal(dashes + "x"), "nested deeper than 32 levels"));
  for (int i = 0; i < 900; i++) indented += std::string(static_cast<std::size_t>(i), ' ') + "a:\n";
  CHECK(has(refusal(indented), "nested deeper than 32 levels"));
  std::string many = head + "a: [";
  for (int i = 0; i < 200'000; i++) many += "1,";
  CHECK(has(refusal(many + "1]\n"), "more than 100000 values"));
  CHECK(has(refusal(std::string("architecture: x86_64\0\n", 22)), "a NUL byte"));
}

TEST_CASE("templates stay inside the guest and templates/") {
  const std::string body = "    template: a.tpl\n";
  CHECK(refusal(with_template("/etc/a", body)) == "");
  CHECK(has(refusal(with_template("etc/a", body)), "template target \"etc/a\" must be an absolute path"));
  CHECK(has(refusal(with_template("", body)), "must be an absolute path"));
  CHECK(has(refusal(with_template("/../etc/a", body)), "must not hold \"..\""));
  CHECK(has(refusal(with_template("/etc/..", body)), "must not hold \"..\""));
  CHECK(refusal(with_template("/etc/..a", body)) == "");
  CHECK(has(refusal(with_template("/etc/", body)), "must name a file"));
  CHECK(has(refusal(with_template("/etc/a\\0b", body)), "NUL or line break"));
  CHECK(has(refusal(with_template("/etc/a\\nb", body)), "NUL or line break"));
  for (auto *source : {"../a", "a/b", "..", ".", "/etc/passwd", "\"a\\0b\"", "\"a\\nb\""})
    CHECK_MESSAGE(has(refusal(with_template("/etc/a", std::string("    template: ") + source + "\n")), "must be one file name"), source);
  CHECK(has(refusal(with_template("/etc/a", "    when: [create]\n")), "names no template file"));
  CHECK(has(refusal(with_template("/etc/a", body + "    when: [never]\n")), "when \"never\""));
  CHECK(refusal(with_template("/etc/a", body + "    when: [\"\"]\n")) == "");
  CHECK(has(refusal(with_template("/etc/a", body + "    when: create\n")), "must be a list"));
  CHECK(has(refusal(with_template("/etc/a", body + "    create_only: maybe\n")), "create_only \"maybe\""));
  for (auto *id : {"root", "-1", "4294967295", "99999999999"}) CHECK(has(refusal(with_template("/etc/a", body + "    uid: " + id + "\n")), "uid"));
  for (auto *mode : {"rw", "9", "10000", "0o644"}) CHECK(has(refusal(with_template("/etc/a", body + "    mode: " + mode + "\n")), "mode"));
}

TEST_CASE("architectures") {
  CHECK(canonical_architecture("amd64") == "x86_64");
  CHECK(canonical_architecture("arm64") == "aarch64");
  CHECK(canonical_architecture("i386") == "i686");
  CHECK(canonical_architecture("armhf") == "armv7l");
  CHECK(canonical_architecture("ppc64el") == "ppc64le");
  CHECK(canonical_architecture("loong64") == "loongarch64");
  CHECK(canonical_architecture("vax") == "");
  CHECK(canonical_architecture("") == "");
  for (auto *a : {"x86_64", "i686", "aarch64", "armv7l", "ppc64le", "s390x", "riscv64", "loongarch64"}) CHECK(canonical_architecture(a) == a);
  CHECK(architecture_runs("x86_64", "x86_64"));
  CHECK(architecture_runs("x86_64", "i686"));
  CHECK_FALSE(architecture_runs("i686", "x86_64"));
  CHECK_FALSE(architecture_runs("x86_64", "aarch64"));
  CHECK(architecture_runs("aarch64", "armv7l"));
  CHECK(canonical_architecture(host_architecture()) == host_architecture());
}
