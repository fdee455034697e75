// SPDX-License-Identifier: Apache-2.0
// What instances, profiles, pools and the like have in common: show, edit, get, set and unset.
#pragma once
#include "output.hpp"
#include "server.hpp"

namespace cli {

struct Object {
  Server *server;
  std::string path;
  std::string_view type; ///< record of GET
  std::string_view put;  ///< record of PUT
  std::string label;     ///< "the profile \"web\"", for messages
};

/// The record cut down to what a PUT takes.
json::value writable(const json::value &record, std::string_view put);
void show_object(const Object &object);
/// `without`: fields that are not shown to the editor.
void edit_object(const Object &object, std::string_view help, const Strings &without = {});
void get_key(Context &context, const Object &object, const std::string &key, bool expanded = false);
/// "key=value"... or "key value"; a value "-" is standard input.
std::vector<std::pair<std::string, std::string>> pairs_of(const Strings &args);
void set_keys(Context &context, const Object &object, const Strings &args, bool unset);
/// Reads the record, lets `change` work on what a PUT takes and puts it back, unless somebody else changed it meanwhile.
void change_object(const Object &object, const std::function<void(json::value &writable, const json::value &whole)> &change);
/// As Go prints a value with %v.
std::string go_value(const json::value &value, std::string_view type);
std::string_view type_of_field(std::string_view record, std::string_view field);

extern const Flag property_get, property_set, property_unset, target_flag, format_flag, all_projects_flag;

} // namespace cli
