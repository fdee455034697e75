// SPDX-License-Identifier: Apache-2.0
// YAML from outside: no aliases, no depth, no size beyond what was asked for.
#pragma once
#include <string>
#include <yaml-cpp/yaml.h>

namespace incus::image {

/// One document; throws corrupt naming `what` and the line.
YAML::Node load_yaml(const char *what, const std::string &yaml, std::size_t most, std::size_t values);

} // namespace incus::image
