// SPDX-License-Identifier: Apache-2.0
#include "object.hpp"

namespace cli {

namespace {

Object metadata(Context &c) {
  auto t = c.target(c.args[0]);
  if (t.name.empty()) fail("Missing instance name");
  return {t.server, url({"instances", t.name, "metadata"}), "ImageMetadata", "ImageMetadata", t.name};
}

} // namespace

Command config_metadata_command() {
  Command c;
  c.names = "metadata";
  c.brief = "Manage instance metadata files";
  c.children = {
      {"edit", "[<remote>:]<instance>", "Edit instance metadata files", 1, 1,
       [](Context &x) {
         edit_object(metadata(x), "The instance's metadata.yaml. Lines that start with # are ignored.");
         return 0;
       }},
      {"show", "[<remote>:]<instance>", "Show instance metadata files", 1, 1,
       [](Context &x) {
         show_object(metadata(x));
         return 0;
       }},
  };
  return c;
}

} // namespace cli
