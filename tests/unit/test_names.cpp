// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include "base/error.hpp"
#include "base/names.hpp"
#include "base/utf8.hpp"

using namespace incus;
using namespace incus::base;

namespace {
template <class N> std::string refusal(std::string_view text) {
  try {
    N::parse(text);
  } catch (const Error &e) {
    CHECK(e.code() == ErrorCode::invalid_argument);
    return e.what();
  }
  return "";
}
} // namespace

TEST_CASE("instance names follow host name rules") {
  for (auto *ok : {"c1", "a", "web-01", "1a", "A-b-C"}) CHECK(InstanceName::parse(ok).str() == ok);
  CHECK(refusal<InstanceName>("") != "");
  CHECK(refusal<InstanceName>("a/b") == "invalid instance name \"a/b\": may hold only letters, digits and '-'");
  CHECK(refusal<InstanceName>("..") != "");
  CHECK(refusal<InstanceName>("a\nb") == "invalid instance name \"a\\nb\": may hold only letters, digits and '-'");
  CHECK(refusal<InstanceName>(std::string_view("a\0b", 3)) != "");
  CHECK(refusal<InstanceName>("-a") != "");
  CHECK(refusal<InstanceName>("a-") != "");
  CHECK(refusal<InstanceName>("123") != "");
  CHECK(refusal<InstanceName>("a.b") != "");
  CHECK(refusal<InstanceName>("a_b") != "");
  CHECK(refusal<InstanceName>(std::string(63, 'a')) == "");
  CHECK(refusal<InstanceName>(std::string(64, 'a')).ends_with("must be at most 63 characters long"));
}

TEST_CASE("no name can hold a path") {
  for (std::string t : {"../x", "x/..", "/", "a/b", "..", ".", "a\nb", "a b", "-x"}) {
    CHECK(refusal<SnapshotName>(t) != "");
    CHECK(refusal<PoolName>(t) != "");
    CHECK(refusal<ProfileName>(t) != "");
    CHECK(refusal<ProjectName>(t) != "");
    CHECK(refusal<DeviceName>(t) != "");
    CHECK(refusal<Fingerprint>(t) != "");
    if (t != "-x") CHECK(refusal<InterfaceName>(t) != "");
    if (t != "a/b") CHECK(refusal<AliasName>(t) != "");
  }
  CHECK(AliasName::parse("debian/12/amd64").str() == "debian/12/amd64");
  CHECK(AliasName::parse("a/b/").str() == "a/b/");
  CHECK(refusal<AliasName>("a//b") != "");
  CHECK(refusal<AliasName>("a//") != "");
  CHECK(refusal<AliasName>("a/../b") != "");
  CHECK(refusal<Fingerprint>(std::string(64, 'A')) != "");
  CHECK(refusal<Fingerprint>(std::string(64, 'a')) == "");
}

TEST_CASE("quoted escapes and shortens") {
  CHECK(quoted("a\nb\x01\"") == "\"a\\nb\\x01\\\"\"");
  CHECK(quoted(std::string(200, 'x')).size() == 85);
  // What it gives is UTF-8, whatever it gets: messages travel as JSON.
  CHECK(quoted("gr\xc3\xbc\xc3\x9f") == "\"gr\xc3\xbc\xc3\x9f\"");
  CHECK(quoted("a\xff\xc3") == "\"a\\xff\\xc3\"");
  CHECK(quoted(std::string(79, 'x') + "\xc3\xbc" + "y") == "\"" + std::string(79, 'x') + "\xc3\xbc...\"");
}

TEST_CASE("bytes become text") {
  CHECK(utf8("a\xe2\x82\xac\xf0\x9f\x98\x80") == "a\xe2\x82\xac\xf0\x9f\x98\x80");
  for (std::string bad : {"\xff", "\xc0", "\x80", "\xc3"}) CHECK(utf8("a" + bad + "b") == "a\xef\xbf\xbd" "b");
  CHECK(utf8("\xed\xa0\x80") == "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
  CHECK(utf8_length("\xf4\x90\x80\x80") == 0);
  CHECK(utf8_length("\xe0\x80\x80") == 0);
}

TEST_CASE("quoted gives UTF-8, whatever it is given") {
  CHECK(quoted("\xc3\xbc\xe2\x82\xac\xf0\x9f\x90\xa7") == "\"\xc3\xbc\xe2\x82\xac\xf0\x9f\x90\xa7\"");
  // Not one byte of a character is cut off at the limit.
  std::string umlauts;
  for (int i = 0; i < 60; i++) umlauts += "\xc3\xbc";
  CHECK(quoted("x" + umlauts) == "\"x" + umlauts.substr(0, 80) + "...\"");
  // Bytes alone, overlong forms, halves of pairs, beyond the last one, cut short.
  CHECK(quoted("\xff\x80") == "\"\\xff\\x80\"");
  CHECK(quoted("\xc0\xaf") == "\"\\xc0\\xaf\"");
  CHECK(quoted("\xe0\x80\xaf") == "\"\\xe0\\x80\\xaf\"");
  CHECK(quoted("\xed\xa0\x80") == "\"\\xed\\xa0\\x80\"");
  CHECK(quoted("\xf4\x90\x80\x80") == "\"\\xf4\\x90\\x80\\x80\"");
  CHECK(quoted("a\xe2\x82") == "\"a\\xe2\\x82\"");
}
