// SPDX-License-Identifier: Apache-2.0
// Which proxy a request goes through, and which none.
#include <cstdlib>
#include <doctest/doctest.h>

#include <incus/error.hpp>

#include "base/proxy.hpp"

using namespace incus;
using base::goes_direct;
using base::parse_proxy;
using base::proxy_for;

TEST_CASE("proxy: forms") {
  auto p = parse_proxy("http://proxy.example:3128");
  CHECK(p.kind == base::Proxy::Kind::http);
  CHECK(p.host == "proxy.example");
  CHECK(p.port == "3128");
  CHECK(p.user.empty());
  CHECK(parse_proxy("proxy").host == "proxy");
  CHECK(parse_proxy("proxy").port == "80");
  CHECK(parse_proxy("proxy:8080/").port == "8080");
  CHECK(parse_proxy("HTTP://proxy/ignored?x#y").host == "proxy");
  CHECK(parse_proxy("http://[fd00::1]:8").host == "fd00::1");
  CHECK(parse_proxy("http://[fd00::1]:8").name() == "[fd00::1]:8");
  auto s = parse_proxy("socks5://us%3Aer:pa%40ss:x@h");
  CHECK(s.kind == base::Proxy::Kind::socks5);
  CHECK(s.port == "1080");
  CHECK(s.user == "us:er");
  CHECK(s.password == "pa@ss:x");
}

TEST_CASE("proxy: what is none") {
  for (auto *text : {"", "http://", "ftp://h", "http://h:0", "http://h:65536", "http://h:x", "http://h:", "http://[h]:1", "http://[::1", "http://::1", "http://a b", "http://h\n:1",
                     "http://h\x7f", "http://:p@h", "http://us%3Aer@h", "http://h:12 ", "http://\"h"}) {
    CAPTURE(text);
    CHECK_THROWS_AS(parse_proxy(text), Error);
  }
  CHECK_THROWS_AS(parse_proxy("socks5://" + std::string(256, 'u') + "@h"), Error);
  CHECK_THROWS_WITH_AS(parse_proxy("https://h"), doctest::Contains("over TLS"), Error);
  // Messages go into logs: no password stands in them.
  try {
    parse_proxy("ftp://me:secret@h");
    FAIL("was taken");
  } catch (const Error &e) {
    CHECK(std::string(e.what()).find("secret") == std::string::npos);
  }
}

TEST_CASE("proxy: hosts that need none") {
  for (auto *host : {"localhost", "LOCALHOST", "127.0.0.1", "127.255.0.9", "::1", "::ffff:127.0.0.1"}) {
    CAPTURE(host);
    CHECK(goes_direct(host, ""));
  }
  CHECK(!goes_direct("example.org", ""));
  CHECK(!goes_direct("0.0.0.0", ""));
  CHECK(!goes_direct("localhost.example.org", ""));
  CHECK(goes_direct("anything", "*"));
  struct Case {
    const char *host, *list;
    bool direct;
  };
  for (auto &c : {
           Case{"example.org", "example.org", true}, Case{"EXAMPLE.org", "Example.ORG", true}, Case{"a.example.org", "example.org", true}, Case{"badexample.org", "example.org", false},
           Case{"example.org", "a.example.org", false}, Case{"example.org", ".example.org", true}, Case{"a.b.example.org", ".example.org", true}, Case{"badexample.org", ".example.org", false},
           Case{"example.org", "other, example.org:8443 ,", true}, Case{"example.org", ",, ,", false}, Case{"10.1.2.3", "10.1.2.3", true}, Case{"10.1.2.3", "10.1.2.3:80", true},
           Case{"10.1.2.3", "10.0.0.0/8", true}, Case{"11.1.2.3", "10.0.0.0/8", false}, Case{"10.1.2.3", "10.1.2.0/23", true}, Case{"10.1.4.3", "10.1.2.0/23", false},
           Case{"10.1.2.3", "0.0.0.0/0", true}, Case{"10.1.2.3", "10.1.2.3/32", true}, Case{"10.1.2.4", "10.1.2.3/32", false}, Case{"10.1.2.3", "10.1.2.3/33", false},
           Case{"10.1.2.3", "10.1.2.3/", false}, Case{"10.1.2.3", "10.1.2.3/-1", false}, Case{"10.1.2.3", "10.1.2.3/8x", false}, Case{"10.1.2.3", "/8", false}, Case{"10.1.2.3", "2.3", false},
           Case{"10.1.2.3", ".3", false}, Case{"fd00::1", "fd00::/8", true}, Case{"fe00::1", "fd00::/8", false}, Case{"fd00::1", "fd00:0::1", true}, Case{"fd00::1", "[fd00::1]:8443", true},
           Case{"10.1.2.3", "fd00::/8", false}, Case{"fd00::1", "0.0.0.0/0", false}, Case{"name", "10.0.0.0/8", false}, Case{"::ffff:10.1.2.3", "10.0.0.0/8", true}, Case{"a", "**", false},
           Case{"a", "*,b", false},
       }) {
    CAPTURE(c.host);
    CAPTURE(c.list);
    CHECK(goes_direct(c.host, c.list) == c.direct);
  }
}

TEST_CASE("proxy: what is set, and what the environment says") {
  for (auto *n : {"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"}) ::unsetenv(n);
  CHECK(!proxy_for({}, "https", "example.org"));
  base::Proxies set{"plain:1", "secure:2", "inside"};
  CHECK(proxy_for(set, "https", "example.org")->host == "secure");
  CHECK(proxy_for(set, "http", "example.org")->host == "plain");
  CHECK(!proxy_for(set, "https", "inside"));
  CHECK(!proxy_for(set, "https", "127.0.0.1"));
  // One for http alone is none for https.
  CHECK(!proxy_for({"plain:1", "", ""}, "https", "example.org"));
  ::setenv("https_proxy", "http://small:3", 1);
  CHECK(proxy_for({}, "https", "example.org")->host == "small");
  ::setenv("HTTPS_PROXY", "http://large:3", 1);
  CHECK(proxy_for({}, "https", "example.org")->host == "large");
  CHECK(proxy_for(set, "https", "example.org")->host == "secure");
  ::setenv("NO_PROXY", "example.org", 1);
  CHECK(!proxy_for({}, "https", "example.org"));
  CHECK(proxy_for({"", "", "other"}, "https", "example.org")->host == "large");
  for (auto *n : {"HTTPS_PROXY", "https_proxy", "NO_PROXY"}) ::unsetenv(n);
}
