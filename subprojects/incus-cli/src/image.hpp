// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "app.hpp"

namespace cli {

/// Those of the names that are aliases already.
Strings existing_aliases(Server &server, const Strings &names);
/// Points the aliases at the image, moving those that exist.
void ensure_aliases(Server &server, const Strings &names, const std::string &fingerprint);
/// --reuse: deletes images that only these aliases name, but not `keep`.
void delete_images_of(Server &server, const Strings &names, const std::string &keep);
/// The server behind "REMOTE:"; fails for one that is no incus server.
int image_import(Context &context);
int image_export(Context &context);
int image_copy(Context &context);
/// From one server to another: `mode` is pull, push or relay; the fingerprint there.
std::string copy_image(Context &context, const std::string &from, const std::string &to, const std::string &image, const std::string &mode,
                       const json::object &wishes);

} // namespace cli
