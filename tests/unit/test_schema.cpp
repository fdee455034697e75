// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>

#include "base/error.hpp"
#include "schema/schema.hpp"

using namespace incus;

namespace {

constexpr schema::Key keys[] = {
    {"limits.memory", "size", schema::is_size_or_percent, "", true, ""},
    {"security.privileged", "bool", schema::is_bool, "false", false, ""},
    {"raw.lxc", "string", nullptr, "", false, "", true},
    {"environment.*", "string", nullptr, "", false, ""},
    {"volatile.*", "string", nullptr, "", false, ""},
    {"volatile.idmap.*", "string", schema::is_uint, "", false, ""},
    {"volatile.uuid", "string", schema::is_uuid, "", false, ""},
};

std::string refusal(const Config &c) {
  try {
    schema::validate(keys, c, "instance \"c1\"");
  } catch (const Error &e) {
    CHECK(e.code() == ErrorCode::invalid_argument);
    return e.what();
  }
  return "";
}

} // namespace

TEST_CASE("an exact row wins over the longest prefix") {
  CHECK(schema::find(keys, "volatile.uuid") == &keys[6]);
  CHECK(schema::find(keys, "volatile.idmap.base") == &keys[5]);
  CHECK(schema::find(keys, "volatile.eth0.hwaddr") == &keys[4]);
  CHECK(schema::find(keys, "environment.PATH") == &keys[3]);
  CHECK(schema::find(keys, "environment.") == nullptr);
  CHECK(schema::find(keys, "environment") == nullptr);
  CHECK(schema::find(keys, "security") == nullptr);
  CHECK(schema::find(keys, "") == nullptr);
}

TEST_CASE("a refusal names key, value and rule") {
  CHECK(refusal({}) == "");
  CHECK(refusal({{"limits.memory", "10MiB"}, {"security.privileged", "Yes"}, {"environment.A", "b"}}) == "");
  CHECK(refusal({{"limit.memory", "1"}}) == "unknown configuration key \"limit.memory\" of instance \"c1\"; did you mean \"limits.memory\"?");
  CHECK(refusal({{"enviroment.HOME", "1"}}) == "unknown configuration key \"enviroment.HOME\" of instance \"c1\"; did you mean \"environment.HOME\"?");
  CHECK(refusal({{"zzzzzzzz", "1"}}) == "unknown configuration key \"zzzzzzzz\" of instance \"c1\"");
  CHECK(refusal({{"security.privileged", "maybe"}}) ==
        "invalid value \"maybe\" of configuration key \"security.privileged\" of instance \"c1\": must be true or false");
  CHECK(refusal({{"security.privileged", ""}}) == ""); // unset
}

TEST_CASE("line ends are refused unless a key may have them, NUL always") {
  for (std::string bad : {std::string("a\nb"), std::string("a\rb"), std::string("a\0b", 3)}) {
    CHECK(refusal({{"environment.A", bad}}) != "");
    CHECK(refusal({{"environment.A" + bad, "x"}}) != "");
    CHECK((refusal({{"raw.lxc", bad}}) == "") == (bad.find('\0') == std::string::npos));
  }
}

TEST_CASE("values fall back") {
  CHECK(schema::value(keys, {}, "security.privileged") == "false");
  CHECK(schema::value(keys, {{"security.privileged", ""}}, "security.privileged") == "false");
  CHECK(schema::value(keys, {{"security.privileged", "1"}}, "security.privileged") == "1");
  CHECK(schema::value(keys, {}, "no.such.key") == "");
}

TEST_CASE("sizes") {
  using schema::parse_size;
  CHECK(parse_size("") == 0);
  CHECK(parse_size("0") == 0);
  CHECK(parse_size("17") == 17);
  CHECK(parse_size("17B") == 17);
  CHECK(parse_size("3kB") == 3000);
  CHECK(parse_size("3MB") == 3000000);
  CHECK(parse_size("2GB") == 2000000000);
  CHECK(parse_size("1TB") == 1000000000000);
  CHECK(parse_size("1PB") == 1000000000000000);
  CHECK(parse_size("9EB") == 9000000000000000000);
  CHECK(parse_size("1KiB") == 1024);
  CHECK(parse_size("10MiB") == 10485760);
  CHECK(parse_size("1GiB") == 1073741824);
  CHECK(parse_size("1TiB") == 1099511627776);
  CHECK(parse_size("1PiB") == 1125899906842624);
  CHECK(parse_size("7EiB") == 8070450532247928832);
  CHECK(parse_size("9223372036854775807") == 9223372036854775807);
  for (auto *bad : {"8EiB", "10EB", "9223372036854775808", "-1", "+1", " 1", "1 ", "1.5GiB", "KiB", "1KB", "1kib", "0x10", "1MiBB"})
    CHECK_THROWS_AS(parse_size(bad), Error);
  CHECK(schema::is_size_or_percent("50%") == "");
  CHECK(schema::is_size_or_percent("1GiB") == "");
  for (auto *bad : {"0%", "101%", "%", "5%%", "-5%"}) CHECK(schema::is_size_or_percent(bad) != "");
}

TEST_CASE("checks of single values") {
  for (auto *ok : {"true", "FALSE", "1", "0", "yes", "No", "on", "OFF"}) CHECK(schema::is_bool(ok) == "");
  for (auto *bad : {"", "2", "tru", "truee"}) CHECK(schema::is_bool(bad) != "");
  CHECK(schema::truthy("True"));
  CHECK_FALSE(schema::truthy("0"));
  CHECK_FALSE(schema::truthy(""));
  CHECK(schema::is_uint("9223372036854775807") == "");
  for (auto *bad : {"", "-0", "-1", "9223372036854775808", "1a", " 1"}) CHECK(schema::is_uint(bad) != "");
  CHECK(schema::is_int("-5") == "");
  CHECK(schema::is_int("--5") != "");
  CHECK(schema::is_uint32("4294967295") == "");
  CHECK(schema::is_uint32("4294967296") != "");
  CHECK(schema::is_priority("10") == "");
  CHECK(schema::is_priority("11") != "");
  CHECK(schema::is_uuid("0f0e0d0c-0b0a-4908-8706-050403020100") == "");
  CHECK(schema::is_uuid("0f0e0d0c-0b0a-4908-8706-05040302010") != "");
  CHECK(schema::is_mac("10:66:6a:0a:0B:ff") == "");
  for (auto *bad : {"10:66:6a:0a:0b", "10-66-6a-0a-0b-ff", "10:66:6a:0a:0b:fg"}) CHECK(schema::is_mac(bad) != "");
  CHECK(schema::is_absolute_path("/srv/a..b") == "");
  for (auto *bad : {"", "srv", "/srv/../etc", "/.."}) CHECK(schema::is_absolute_path(bad) != "");
}
