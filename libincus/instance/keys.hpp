// SPDX-License-Identifier: Apache-2.0
// The configuration keys of instances and profiles.
#pragma once
#include <span>
#include <string>
#include <vector>

#include <incus/types.hpp>

#include "schema/schema.hpp"

namespace incus::instance {

/// Every key an instance may have.
std::span<const schema::Key> instance_keys() noexcept;
/// The same without volatile.*.
std::span<const schema::Key> profile_keys() noexcept;

/// Checks names, values and what keys demand of each other. `what` such as "instance \"c1\"" or "profile \"web\"". Throws
/// invalid_argument naming the key, and the value and its rule where the value is wrong. raw.lxc is checked by the runtime.
void validate_instance_config(const Config &config, const std::string &what, bool profile);

/// Takes out of a client's configuration what volatile.*.host_name it tells that `own` does not: interfaces by these names are removed from the host.
void drop_host_names(Config &asked, const Config &own);

/// The limits of an instance type such as "c0.5-m2" (CPUs, GiB); throws invalid_argument.
Config limits_of_size(const std::string &size);

/// Keys whose value differs, in order; an empty value counts as unset.
std::vector<std::string> changed_keys(const Config &before, const Config &after);

} // namespace incus::instance
