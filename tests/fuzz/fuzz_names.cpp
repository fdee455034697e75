// SPDX-License-Identifier: Apache-2.0
// Every typed name: what parses is itself, and can be neither a path out nor a line of its own.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "base/error.hpp"
#include "base/names.hpp"

using namespace incus;
using namespace incus::base;

namespace {

void must(bool ok) {
  if (!ok) std::abort();
}

template <class N> std::string parsed(std::string_view text) {
#ifdef INCUS_PLANTED_BUG
  // As a parser that takes the part after the last '/' but keeps the whole.
  if (auto cut = text.rfind('/'); cut != text.npos && cut > 1) {
    N::parse(text.substr(cut + 1));
    return std::string(text);
  }
#endif
  return N::parse(text).str();
}

template <class N> void check(std::string_view text, bool slashes = false) {
  std::string got;
  try {
    got = parsed<N>(text);
  } catch (const Error &e) {
    must(e.code() == ErrorCode::invalid_argument);
    must(std::string_view(e.what()).find('\n') == std::string_view::npos && std::string_view(e.what()).find('\0') == std::string_view::npos);
    return;
  }
  must(got == text && !got.empty() && got.size() <= 255);
  must(is_one_line(got) && got.find(' ') == std::string::npos);
  must(slashes || got.find('/') == std::string::npos);
  must(got[0] != '/');
  std::string with = "/" + got + "/";
  if (slashes && got.ends_with('/')) with.pop_back(); // one at the end is allowed
  must(with.find("/../") == std::string::npos && with.find("/./") == std::string::npos && with.find("//") == std::string::npos);
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size) {
  std::string_view text(reinterpret_cast<const char *>(data), size);
  check<InstanceName>(text);
  check<SnapshotName>(text);
  check<PoolName>(text);
  check<ProfileName>(text);
  check<ProjectName>(text);
  check<DeviceName>(text);
  check<AliasName>(text, true);
  check<Fingerprint>(text);
  check<InterfaceName>(text);
  must(quoted(text).size() <= 4 * 80 + 5);
  return 0;
}
