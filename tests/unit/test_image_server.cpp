// SPDX-License-Identifier: Apache-2.0
// Addresses that images come from, and where they may lead.
#include <doctest/doctest.h>

#include <incus/error.hpp>

#include "remote/image_server.hpp"
#include "remote/target.hpp"

using namespace incus;
using remote::parse_web_address;
using remote::redirected;

TEST_CASE("image server: addresses are taken apart") {
  auto a = parse_web_address("https://Example.org/a/b?c=d#e");
  CHECK(a.host == "Example.org");
  CHECK(a.port == "443");
  CHECK(a.path == "/a/b?c=d");
  CHECK(a.text() == "https://Example.org/a/b?c=d");
  CHECK(parse_web_address("HTTPS://h:8443").path == "/");
  CHECK(parse_web_address("https://h?x=y").path == "/?x=y");
  CHECK(parse_web_address("https://[::1]:5/x").host == "::1");
  CHECK(parse_web_address("https://[::1]/x").port == "443");
  CHECK(parse_web_address("https://[::1]:5/x").text() == "https://[::1]:5/x");
}

TEST_CASE("image server: what is no https address is refused") {
  for (auto *url : {"", "https:", "https://", "https:///x", "http://h/", "file:///etc/passwd", "ftp://h", "h:8443", "https://u@h/", "https://u:p@h/", "https://h:0/",
                    "https://h:99999/", "https://h:x/", "https://h\n/", "https://h/a b", "https://h/\x01", "https://[::1/", "https://a\\b/", "unix:///run/x"}) {
    CAPTURE(url);
    CHECK_THROWS_AS(parse_web_address(url), Error);
  }
}

TEST_CASE("image server: redirections") {
  auto from = parse_web_address("https://h:1/a/b?c");
  CHECK(redirected(from, "/x?y").text() == "https://h:1/x?y");
  CHECK(redirected(from, "https://i/z").text() == "https://i/z");
  CHECK(redirected(from, "//i/z").text() == "https://i/z");
  for (auto *to : {"file:///etc/passwd", "http://h/", "gopher://h/", "", "relative", "//u@h/", "https://h:0/"}) {
    CAPTURE(to);
    CHECK_THROWS_AS(redirected(from, to), Error);
  }
}

TEST_CASE("image server: addresses of this machine and of private networks") {
  for (auto *host : {"127.0.0.1", "127.1.2.3", "0.0.0.0", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254", "100.64.0.1", "224.0.0.1", "255.255.255.255",
                     "::1", "::", "fe80::1", "fd00::1", "fc00::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "::10.0.0.1"}) {
    CAPTURE(host);
    CHECK(remote::is_private(host));
  }
  for (auto *host : {"1.1.1.1", "172.15.0.1", "172.32.0.1", "192.167.1.1", "100.128.0.1", "2606:4700::1111", "::ffff:1.1.1.1"}) {
    CAPTURE(host);
    CHECK(!remote::is_private(host));
  }
  remote::Target t;
  t.host = "127.0.0.1";
  t.port = "1";
  t.only_public = true;
  CHECK_THROWS_WITH_AS(remote::dial(t), doctest::Contains("ermission"), Error);
}
