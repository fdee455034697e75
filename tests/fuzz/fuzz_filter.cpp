// SPDX-License-Identifier: Apache-2.0
// The filter language: whatever text it is given, it parses or says why not, and what parses answers for any record.
#include <boost/json.hpp>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "api/filter.hpp"
#include "base/error.hpp"

using namespace incus;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size) {
  static const auto record = boost::json::parse(R"({"name":"c1","status":"Running","ephemeral":false,"status_code":103,"size":18446744073709551615,
    "config":{"user.x":"y"},"devices":{"eth0":{"type":"nic"}},"profiles":["default"],"state":null})");
  std::string_view text(reinterpret_cast<const char *>(data), size);
  try {
    auto f = api::Filter::parse(text);
    bool is = f.matches(record.as_object());
    // The whole turned round is the other answer.
    if (text.find_first_not_of(" \t\n\r\v\f") != text.npos && text.size() < 16000) {
      bool turned = is;
      try {
        turned = api::Filter::parse("not ( " + std::string(text) + " )").matches(record.as_object());
      } catch (const Error &) {
        // Deeper by one bracket than is allowed, or a value that ends with one.
        turned = !is;
      }
      if (turned == is && text.find_first_of("()\"") == text.npos) std::abort();
    }
  } catch (const Error &e) {
    if (e.code() != ErrorCode::invalid_argument) std::abort();
  }
  return 0;
}
