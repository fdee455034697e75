// SPDX-License-Identifier: Apache-2.0
// Pieces that several verbs share.
#pragma once
#include "app.hpp"

namespace cli {

/// "root,size=5GiB" by device and key.
std::map<std::string, std::map<std::string, std::string>> device_overrides(const Strings &words);
/// Of an alias or a fingerprint (or its beginning).
std::string image_fingerprint(Server &server, const std::string &name);
/// The `source` of an instance made from an image. `addresses`: where the image's server may be reached, when it is another one; the source names
/// the first.
json::value image_source(Context &context, const std::string &image_remote, const std::string &remote, std::string image, std::string *type,
                         Strings *addresses = nullptr);
/// URLs of a server for other servers; fails when it does not listen on the network.
Strings network_addresses(Server &server);
/// Asks with the source's server being each of the addresses, until one of them is reached.
incus::OperationInfo ask_over(Context &context, Server &server, const std::string &path, json::object &request, const Strings &addresses, const std::string &format);
/// Runs the console (`type` "console") until it is left; the program's exit code.
int attach_console(Context &context, Server &server, const std::string &instance, const std::string &type);
int show_console_log(Server &server, const std::string &instance);
/// What a raw answer holds: its bodies, or its JSON.
std::string read_bodies(incus::RawReply reply);

} // namespace cli
