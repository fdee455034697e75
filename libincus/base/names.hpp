// SPDX-License-Identifier: Apache-2.0
// Typed names: text from outside becomes one of these at the door, so that nothing deeper can be handed a path,
// a "..", a NUL or a newline.
#pragma once
#include <compare>
#include <string>
#include <string_view>

namespace incus::base {

template <class Tag> class Name {
public:
  Name() = default;
  /// Checks the rules of this kind; throws invalid_argument that names the value and the rule.
  static Name parse(std::string_view text);
  const std::string &str() const { return text_; }
  operator const std::string &() const { return text_; }
  bool empty() const { return text_.empty(); }
  auto operator<=>(const Name &) const = default;

private:
  explicit Name(std::string t) : text_(std::move(t)) {}
  std::string text_;
};

/// Host name rules: 1-63 letters, digits and '-', not beginning or ending with '-', not all digits.
using InstanceName = Name<struct InstanceTag>;
/// 1-64 characters of letters, digits, '-', '_', '.', ':' '+', '@'; not "." or ".."; no '/' or white space.
using SnapshotName = Name<struct SnapshotTag>;
using PoolName = Name<struct PoolTag>;
using ProfileName = Name<struct ProfileTag>;
using ProjectName = Name<struct ProjectTag>;
using DeviceName = Name<struct DeviceTag>;
/// Image aliases may hold '/', as in "debian/12", but no empty, "." or ".." component.
using AliasName = Name<struct AliasTag>;
/// 64 lower-case hexadecimal digits.
using Fingerprint = Name<struct FingerprintTag>;
/// Network interface names: 1-15 characters, no '/', ':' or white space, not "." or "..".
using InterfaceName = Name<struct InterfaceTag>;

template <> InstanceName InstanceName::parse(std::string_view);
template <> SnapshotName SnapshotName::parse(std::string_view);
template <> PoolName PoolName::parse(std::string_view);
template <> ProfileName ProfileName::parse(std::string_view);
template <> ProjectName ProjectName::parse(std::string_view);
template <> DeviceName DeviceName::parse(std::string_view);
template <> AliasName AliasName::parse(std::string_view);
template <> Fingerprint Fingerprint::parse(std::string_view);
template <> InterfaceName InterfaceName::parse(std::string_view);

/// True for text without NUL, CR and LF: what may be written into a generated configuration line.
bool is_one_line(std::string_view text) noexcept;
/// A value quoted for an error message: control characters escaped, cut at 80 characters.
std::string quoted(std::string_view text);
// Where a standard header brings std::quoted along, a call without a namespace would take that for its own kinds of text.
inline std::string quoted(const std::string &text) { return quoted(std::string_view(text)); }
inline std::string quoted(std::string &text) { return quoted(std::string_view(text)); }
inline std::string quoted(const char *text) { return quoted(std::string_view(text)); }

} // namespace incus::base
