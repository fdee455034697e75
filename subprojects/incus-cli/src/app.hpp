// SPDX-License-Identifier: Apache-2.0
// What every verb sees: its arguments, the settings, the servers, output.
#pragma once
#include <boost/json.hpp>
#include <fmt/format.h>
#include <functional>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <incus/incus.hpp>

#include "settings.hpp"

namespace cli {

namespace json = boost::json;
using Strings = std::vector<std::string>;

/// Ends the command: the text goes to stderr after "Error: ", `code` to the shell. An empty text prints nothing.
struct Failure : std::runtime_error {
  explicit Failure(const std::string &text, int exit_code = 1) : std::runtime_error(text), code(exit_code) {}
  int code;
};
template <class... A> [[noreturn]] void fail(fmt::format_string<A...> text, A &&...args) {
  throw Failure(fmt::format(text, std::forward<A>(args)...));
}

/// An option of a command.
struct Flag {
  enum Kind { toggle, text, list, number };
  Kind kind;
  std::string_view name;
  char letter = 0;          ///< 0: none
  std::string_view initial; ///< value when it is not given
  std::string_view help;
  std::string_view bare = {}; ///< value of "--name" without "=": the value is then optional
};

class Context;
using Run = int (*)(Context &);

/// One verb, or a group of them.
struct Command {
  std::string_view names; ///< "list ls": the first is shown, the others are accepted
  std::string_view usage; ///< arguments
  std::string_view brief;
  int least = 0, most = 0; ///< number of arguments; most -1: any
  Run run = nullptr;
  std::vector<Flag> flags;
  std::vector<Command> children;
  std::string_view details, examples;
  bool hidden = false; ///< shown by --all only
  std::string_view name() const { return names.substr(0, names.find(' ')); }
  bool is(std::string_view word) const;
};

/// What a parse of the command line gives.
struct Parsed {
  Strings args;
  std::map<std::string, Strings, std::less<>> values; ///< of the flags given
};

class Server;

/// "REMOTE:NAME" taken apart.
struct Target {
  std::string remote, name;
  Server *server = nullptr;
};

class Context {
public:
  Context(const Command &command, std::string path, Parsed parsed);
  ~Context();
  Context(const Context &) = delete;

  const Command &command;
  const std::string path; ///< "config show"
  Strings args;
  Settings settings;

  bool given(std::string_view flag) const;
  bool flag(std::string_view name) const;
  std::string text(std::string_view name) const;
  Strings list(std::string_view name) const;
  std::int64_t number(std::string_view name) const;
  void set(std::string_view name, std::string value) { values_[std::string(name)] = {std::move(value)}; }

  bool quiet() const { return flag("quiet"); }
  bool debug() const { return flag("debug"); }
  /// Splits at the remote's name; no remote: the default one.
  std::pair<std::string, std::string> split(const std::string &argument) const;
  Server &server(const std::string &remote);
  Target target(const std::string &argument);
  /// The argument at `index`, or the default remote with an empty name when there are fewer.
  Target target_at(std::size_t index) { return target(index < args.size() ? args[index] : std::string()); }
  std::string arg(std::size_t index) const { return index < args.size() ? args[index] : std::string(); }
  /// Prints the help of the command and fails: "Invalid number of arguments".
  [[noreturn]] void bad_arguments() const;

private:
  std::map<std::string, Strings, std::less<>> values_;
  std::map<std::string, std::unique_ptr<Server>> servers_;
  const Flag *find(std::string_view name) const;
};

/// The whole tree.
const Command &root_command();
/// Finds the verb and parses its flags. Prints help and throws Failure with code 0 when that is what was asked for.
int run_command_line(const Strings &args);
std::string help_text(const Command &command, const std::string &path, bool all);
Parsed parse_flags(const Command &command, const Strings &args);
std::vector<Flag> global_flags();
extern const char *const program_version;

// stdout; ends the program quietly when nobody reads it any more.
void print(std::string_view text);
template <class... A> void say(fmt::format_string<A...> text, A &&...args) { print(fmt::format(text, std::forward<A>(args)...)); }
void print_error(std::string_view text);

// One function a group of verbs.
Command list_command();
Command create_command();
Command launch_command();
Command rebuild_command();
Command start_command();
Command stop_command();
Command restart_command();
Command pause_command();
Command resume_command();
Command delete_command();
Command info_command();
Command exec_command();
Command console_command();
Command file_command();
Command config_command();
Command config_device_command();
Command device_command(bool of_profile);
Command config_trust_command();
Command config_metadata_command();
Command config_template_command();
Command profile_command();
Command project_command();
Command image_command();
Command image_alias_command();
Command snapshot_command();
Command copy_command();
Command move_command();
Command rename_command();
Command publish_command();
Command export_command();
Command import_command();
Command storage_command();
Command storage_volume_command();
Command network_command();
Command operation_command();
Command warning_command();
Command monitor_command();
Command query_command();
Command remote_command();
Command top_command();
Command admin_command();
Command admin_init_command();
Command admin_sql_command();
Command version_command();
Command alias_command();
Command completion_command();

} // namespace cli
