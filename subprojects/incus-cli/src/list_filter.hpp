// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "app.hpp"

namespace cli {

/// Whether the instance passes all filters of `list`.
bool instance_matches(const json::value &instance, const Strings &filters);
/// The same for images: names are beginnings of fingerprints or aliases.
bool image_matches(const json::value &image, const Strings &filters);
/// "u.b" for "user.blah": every part is the beginning of the other's.
bool dotted_prefix(const std::string &shortened, const std::string &full);
/// A regular expression that matches the whole text unless it is anchored itself; a text that is none is compared.
bool text_matches(const std::string &pattern, const std::string &text);

} // namespace cli
