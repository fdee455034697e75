// SPDX-License-Identifier: Apache-2.0
#include "base/names.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "base/utf8.hpp"

namespace incus::base {

namespace {

bool letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool digit(char c) { return c >= '0' && c <= '9'; }

[[noreturn]] void bad(const char *what, std::string_view text, const char *rule) {
  fail(ErrorCode::invalid_argument, "invalid {} {}: {}", what, quoted(text), rule);
}

std::string host_name(const char *what, std::string_view t) {
  if (t.empty()) bad(what, t, "must not be empty");
  if (t.size() > 63) bad(what, t, "must be at most 63 characters long");
  for (char c : t)
    if (!letter(c) && !digit(c) && c != '-') bad(what, t, "may hold only letters, digits and '-'");
  if (t.front() == '-' || t.back() == '-') bad(what, t, "must not begin or end with '-'");
  if (std::all_of(t.begin(), t.end(), digit)) bad(what, t, "must not be all digits");
  return std::string(t);
}

std::string file_name(const char *what, std::string_view t, std::size_t most = 64) {
  if (t.empty()) bad(what, t, "must not be empty");
  if (t.size() > most) bad(what, t, most == 64 ? "must be at most 64 characters long" : "too long");
  if (t == "." || t == "..") bad(what, t, "must not be '.' or '..'");
  for (char c : t)
    if (!letter(c) && !digit(c) && !std::string_view("-_.:+@").contains(c))
      bad(what, t, "may hold only letters, digits and - _ . : + @");
  if (t.front() == '-' || t.front() == '.') bad(what, t, "must not begin with '-' or '.'");
  return std::string(t);
}

} // namespace

template <> InstanceName InstanceName::parse(std::string_view t) { return InstanceName(host_name("instance name", t)); }
template <> SnapshotName SnapshotName::parse(std::string_view t) { return SnapshotName(file_name("snapshot name", t)); }
template <> PoolName PoolName::parse(std::string_view t) { return PoolName(file_name("storage pool name", t)); }
template <> ProfileName ProfileName::parse(std::string_view t) { return ProfileName(file_name("profile name", t)); }
template <> ProjectName ProjectName::parse(std::string_view t) {
  if (t.contains('_')) bad("project name", t, "must not hold '_'");
  return ProjectName(file_name("project name", t));
}
template <> DeviceName DeviceName::parse(std::string_view t) { return DeviceName(file_name("device name", t)); }

template <> AliasName AliasName::parse(std::string_view t) {
  if (t.empty()) bad("image alias", t, "must not be empty");
  if (t.size() > 255) bad("image alias", t, "must be at most 255 characters long");
  std::string_view rest = t;
  // Clients of Incus end some with a slash.
  if (rest.ends_with('/')) rest.remove_suffix(1);
  for (;;) {
    auto cut = rest.find('/');
    file_name("image alias", rest.substr(0, cut), 255);
    if (cut == std::string_view::npos) break;
    rest.remove_prefix(cut + 1);
  }
  return AliasName(std::string(t));
}

template <> Fingerprint Fingerprint::parse(std::string_view t) {
  if (t.size() != 64) bad("fingerprint", t, "must be 64 hexadecimal digits");
  for (char c : t)
    if (!digit(c) && !(c >= 'a' && c <= 'f')) bad("fingerprint", t, "must be 64 lower-case hexadecimal digits");
  return Fingerprint(std::string(t));
}

template <> InterfaceName InterfaceName::parse(std::string_view t) {
  if (t.empty()) bad("interface name", t, "must not be empty");
  if (t.size() > 15) bad("interface name", t, "must be at most 15 characters long");
  if (t == "." || t == "..") bad("interface name", t, "must not be '.' or '..'");
  for (char c : t)
    if (!letter(c) && !digit(c) && !std::string_view("-_.@+").contains(c))
      bad("interface name", t, "may hold only letters, digits and - _ . @ +");
  return InterfaceName(std::string(t));
}

bool is_one_line(std::string_view text) noexcept {
  return text.find_first_of(std::string_view("\0\r\n", 3)) == std::string_view::npos;
}

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (std::size_t i = 0; i < text.size();) {
    if (i >= 80) {
      out += "...";
      break;
    }
    unsigned char c = static_cast<unsigned char>(text[i]);
    auto n = utf8_length(text.substr(i, 4));
    if (c == '"' || c == '\\') {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c == '\n') {
      out += "\\n";
    } else if (c < 0x20 || c == 0x7f || n == 0) {
      out += fmt::format("\\x{:02x}", c);
    } else {
      out += text.substr(i, n);
    }
    i += n ? n : 1;
  }
  return out + '"';
}

} // namespace incus::base
