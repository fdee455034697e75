// SPDX-License-Identifier: Apache-2.0
// The command line: which verb, its flags and arguments, its help.
#include <CLI/CLI.hpp>
#include <cerrno>
#include <unistd.h>

#include "output.hpp"

namespace cli {

const char *const program_version = "6.0.4";

std::vector<Flag> global_flags() {
  return {{Flag::toggle, "version", 0, "", "Print version number"},
          {Flag::toggle, "help", 'h', "", "Print help"},
          {Flag::toggle, "force-local", 0, "", "Force using the local unix socket"},
          {Flag::text, "project", 0, "", "Override the source project"},
          {Flag::toggle, "debug", 0, "", "Show all debug messages"},
          {Flag::toggle, "verbose", 'v', "", "Show all information messages"},
          {Flag::toggle, "quiet", 'q', "", "Don't show progress information"},
          {Flag::toggle, "sub-commands", 0, "", "Use with help or --help to view sub-commands"}};
}

bool Command::is(std::string_view word) const {
  for (auto rest = names;;) {
    auto cut = rest.find(' ');
    if (rest.substr(0, cut) == word) return true;
    if (cut == std::string_view::npos) return false;
    rest.remove_prefix(cut + 1);
  }
}

const Command &root_command() {
  static const Command root = [] {
    Command r;
    r.names = "incus";
    r.brief = "Command line client for Incus";
    r.details = "Everything a server can do is reached by the commands below; each has --help.\nCommands of your own are made with \"incus alias\".";
    r.flags = {{Flag::toggle, "all", 0, "", "Show less common commands"}};
    for (auto make : {admin_command,    alias_command, completion_command, config_command,    console_command, copy_command,    create_command,
                      delete_command,   exec_command,  file_command,       image_command,     info_command,    launch_command,  list_command,
                      monitor_command,  move_command,  network_command,    operation_command, pause_command,   profile_command, project_command,
                      publish_command,  export_command, import_command, query_command, rebuild_command,    remote_command,    rename_command,  restart_command, resume_command,
                      snapshot_command, start_command, stop_command,       storage_command,   top_command,     version_command, warning_command})
      r.children.push_back(make());
    return r;
  }();
  return root;
}

namespace {

const Flag *flag_named(const Command &command, std::string_view name) {
  static const auto global = global_flags();
  for (auto &f : command.flags)
    if (f.name == name) return &f;
  for (auto &f : global)
    if (f.name == name) return &f;
  return nullptr;
}
const Flag *flag_lettered(const Command &command, char letter) {
  static const auto global = global_flags();
  for (auto &f : command.flags)
    if (f.letter == letter) return &f;
  for (auto &f : global)
    if (f.letter == letter) return &f;
  return nullptr;
}

/// CLI11 takes "--name=" for a flag without a value, and an optional value from the next word: both are said apart here.
Strings spelled_out(const Command &command, const Strings &args) {
  Strings out;
  for (std::size_t i = 0; i < args.size(); i++) {
    auto &a = args[i];
    if (a == "--") {
      out.insert(out.end(), args.begin() + static_cast<std::ptrdiff_t>(i), args.end());
      break;
    }
    if (a.size() < 2 || a[0] != '-') {
      out.push_back(a);
      continue;
    }
    if (a[1] == '-') {
      auto equals = a.find('=');
      auto name = a.substr(2, equals == std::string::npos ? equals : equals - 2);
      auto *f = flag_named(command, name);
      if (!f) fail("unknown flag: --{}", name);
      if (f->kind == Flag::toggle) {
        out.push_back(a);
      } else if (equals != std::string::npos) {
        out.push_back("--" + name);
        out.push_back(a.substr(equals + 1));
      } else if (!f->bare.empty()) {
        out.push_back("--" + name);
        out.emplace_back(f->bare);
      } else {
        if (i + 1 >= args.size()) fail("flag needs an argument: {}", a);
        out.push_back(a);
        out.push_back(args[++i]);
      }
      continue;
    }
    for (std::size_t k = 1; k < a.size(); k++) {
      auto *f = flag_lettered(command, a[k]);
      if (!f) fail("unknown shorthand flag: '{}' in {}", a[k], a);
      if (f->kind == Flag::toggle) {
        out.push_back("--" + std::string(f->name));
        continue;
      }
      out.push_back("--" + std::string(f->name));
      if (k + 1 < a.size()) {
        out.push_back(a.substr(a[k + 1] == '=' ? k + 2 : k + 1));
      } else {
        if (i + 1 >= args.size()) fail("flag needs an argument: '{}' in {}", a[k], a);
        out.push_back(args[++i]);
      }
      break;
    }
  }
  return out;
}

} // namespace

Parsed parse_flags(const Command &command, const Strings &args) {
  Parsed parsed;
  CLI::App app;
  app.set_help_flag();
  auto global = global_flags();
  std::map<std::string, Strings, std::less<>> texts;
  std::map<std::string, bool, std::less<>> toggles;
  std::vector<std::pair<const Flag *, CLI::Option *>> options;
  auto add = [&](const Flag &f) {
    std::string name = "--" + std::string(f.name);
    if (texts.count(f.name) || toggles.count(f.name)) return;
    if (f.kind == Flag::toggle)
      options.emplace_back(&f, app.add_flag(name, toggles[std::string(f.name)])->multi_option_policy(CLI::MultiOptionPolicy::TakeLast));
    else
      options.emplace_back(&f, app.add_option(name, texts[std::string(f.name)])->expected(1)->allow_extra_args(false)->take_all());
  };
  for (auto &f : command.flags) add(f);
  for (auto &f : global) add(f);
  app.add_option("arguments", parsed.args)->expected(0, -1);
  auto words = spelled_out(command, args);
  std::reverse(words.begin(), words.end());
  try {
    app.parse(std::move(words));
  } catch (const CLI::ParseError &e) {
    throw Failure(e.what());
  }
  for (auto &[f, option] : options) {
    if (!option->count()) continue;
    std::string name(f->name);
    if (f->kind == Flag::toggle)
      parsed.values[name] = {toggles[name] ? "true" : "false"};
    else
      parsed.values[name] = f->kind == Flag::list ? texts[name] : Strings{texts[name].empty() ? "" : texts[name].back()};
    if (f->kind == Flag::number) {
      auto &v = parsed.values[name].front();
      char *end = nullptr;
      errno = 0;
      std::strtoll(v.c_str(), &end, 10);
      if (errno == ERANGE)
        fail("invalid argument \"{}\" for \"{}--{}\" flag: strconv.ParseInt: parsing \"{}\": value out of range", v,
             f->letter ? fmt::format("-{}, ", f->letter) : "", name, v);
      if (v.empty() || *end)
        fail("invalid argument \"{}\" for \"{}--{}\" flag: strconv.ParseInt: parsing \"{}\": invalid syntax", v,
             f->letter ? fmt::format("-{}, ", f->letter) : "", name, v);
    }
  }
  return parsed;
}

namespace {

std::string flags_text(const std::vector<Flag> &flags) {
  std::vector<std::pair<std::string, std::string>> lines;
  std::size_t width = 0;
  std::vector<const Flag *> sorted;
  for (auto &f : flags) sorted.push_back(&f);
  std::sort(sorted.begin(), sorted.end(), [](auto *a, auto *b) { return a->name < b->name; });
  for (auto *f : sorted) {
    auto left = fmt::format("  {}--{}{}", f->letter ? fmt::format("-{}, ", f->letter) : "    ", f->name,
                            f->bare.empty() ? "" : fmt::format("[=\"{}\"]", f->bare));
    std::string right(f->help);
    if (f->kind != Flag::toggle && !f->initial.empty())
      right += f->kind == Flag::number ? fmt::format(" (default {})", f->initial) : fmt::format(" (default \"{}\")", f->initial);
    width = std::max(width, left.size());
    lines.emplace_back(std::move(left), std::move(right));
  }
  std::string out;
  for (auto &[left, right] : lines) out += fmt::format("{:<{}}   {}\n", left, width, right);
  return out;
}

std::string indented(std::string_view text) {
  std::string out;
  for (auto &line : split_text(text, '\n')) out += line.empty() ? "\n" : "  " + line + "\n";
  return out;
}

} // namespace

std::string help_text(const Command &command, const std::string &path, bool all) {
  std::string out = "Description:\n" + indented(command.brief);
  if (!command.details.empty()) out += "\n" + indented(command.details);
  out += "\nUsage:\n";
  auto full = path.empty() ? std::string("incus") : "incus " + path;
  if (command.children.empty())
    out += fmt::format("  {}{}{} [flags]\n", full, command.usage.empty() ? "" : " ", command.usage);
  else
    out += fmt::format("  {} [command]\n", full);
  if (command.names.find(' ') != std::string_view::npos) {
    std::string names(command.names);
    for (std::size_t at = 0; (at = names.find(' ', at)) != std::string::npos; at += 2) names.replace(at, 1, ", ");
    out += "\nAliases:\n  " + names + "\n";
  }
  if (!command.examples.empty()) out += "\nExamples:\n" + indented(command.examples);
  if (!command.children.empty()) {
    std::vector<const Command *> shown;
    for (auto &c : command.children)
      if (!c.hidden || all) shown.push_back(&c);
    std::sort(shown.begin(), shown.end(), [](auto *a, auto *b) { return a->name() < b->name(); });
    std::size_t width = 11;
    for (auto *c : shown) width = std::max(width, c->name().size());
    out += "\nAvailable Commands:\n";
    for (auto *c : shown) out += fmt::format("  {:<{}} {}\n", c->name(), width, c->brief);
  }
  if (path.empty()) {
    auto flags = global_flags();
    flags.insert(flags.end(), command.flags.begin(), command.flags.end());
    out += "\nFlags:\n" + flags_text(flags);
  } else {
    if (!command.flags.empty()) out += "\nFlags:\n" + flags_text(command.flags);
    out += "\nGlobal Flags:\n" + flags_text(global_flags());
  }
  if (!command.children.empty()) out += fmt::format("\nUse \"{} [command] --help\" for more information about a command.\n", full);
  return out;
}

namespace {

/// "exec @ARGS@ -- su -l" and the words after the alias, joined.
Strings expand(const std::string &alias, const Strings &rest) {
  Strings words, out;
  std::string word;
  bool any = false;
  char quote = 0;
  for (char c : alias) {
    if (quote) {
      if (c == quote)
        quote = 0;
      else
        word += c;
    } else if (c == '\'' || c == '"') {
      quote = c;
      any = true;
    } else if (c == ' ' || c == '\t') {
      if (any) words.push_back(word);
      word.clear();
      any = false;
    } else {
      word += c;
      any = true;
    }
  }
  if (any) words.push_back(word);
  std::vector<bool> used(rest.size(), false);
  bool at_args = false;
  for (auto &w : words) {
    for (std::size_t i = 0; i < rest.size(); i++) {
      auto mark = fmt::format("@ARG{}@", i + 1);
      // What was put in is not looked at again: it may hold a mark itself.
      for (std::size_t at = 0; (at = w.find(mark, at)) != std::string::npos; at += rest[i].size(), used[i] = true) w.replace(at, mark.size(), rest[i]);
    }
    if (w == "@ARGS@") at_args = true;
  }
  Strings others;
  for (std::size_t i = 0; i < rest.size(); i++)
    if (!used[i]) others.push_back(rest[i]);
  for (auto &w : words) {
    if (w == "@ARGS@")
      out.insert(out.end(), others.begin(), others.end());
    else
      out.push_back(w);
  }
  if (!at_args) out.insert(out.end(), others.begin(), others.end());
  return out;
}

/// Whether a word after this flag is its value: only for flags before the verb.
bool takes_value(const std::string &flag) {
  if (flag.find('=') != std::string::npos || flag.rfind("--", 0) != 0) return false;
  for (auto &f : global_flags())
    if (f.name == flag.substr(2)) return f.kind != Flag::toggle;
  return false;
}

struct Found {
  const Command *command;
  std::string path;
  Strings rest;
};

Found find_verb(const Strings &args) {
  Found found{&root_command(), {}, {}};
  std::size_t i = 0;
  for (; i < args.size(); i++) {
    auto &a = args[i];
    if (found.command->children.empty() || a == "--") break;
    if (a.size() > 1 && a[0] == '-') {
      found.rest.push_back(a);
      if (takes_value(a) && i + 1 < args.size()) found.rest.push_back(args[++i]);
      continue;
    }
    const Command *next = nullptr;
    for (auto &c : found.command->children)
      if (c.is(a)) next = &c;
    if (!next) {
      if (found.path.empty()) {
        if (a == "help") {
          found.rest.insert(found.rest.begin(), "--help");
          continue;
        }
        fail("unknown command \"{}\" for \"incus\"", a);
      }
      break;
    }
    found.command = next;
    found.path += (found.path.empty() ? "" : " ") + std::string(next->name());
  }
  found.rest.insert(found.rest.end(), args.begin() + static_cast<std::ptrdiff_t>(i), args.end());
  return found;
}

/// Aliases of the user come before the verbs; "shell" is there from the start.
Strings without_aliases(const Strings &args) {
  if (args.empty() || args[0].empty() || args[0][0] == '-') return args;
  auto aliases = Settings::load().aliases;
  aliases.emplace("shell", "exec @ARGS@ -- su -l");
  // The longest one that matches: an alias may be several words.
  for (std::size_t n = args.size(); n > 0; n--) {
    auto it = aliases.find(join(Strings(args.begin(), args.begin() + static_cast<std::ptrdiff_t>(n)), " "));
    if (it == aliases.end()) continue;
    return expand(it->second, Strings(args.begin() + static_cast<std::ptrdiff_t>(n), args.end()));
  }
  return args;
}

} // namespace

int run_command_line(const Strings &given) {
  auto args = without_aliases(given);
  auto found = find_verb(args);
  auto &command = *found.command;
  auto parsed = parse_flags(command, found.rest);
  auto is_set = [&](const char *name) {
    auto it = parsed.values.find(name);
    return it != parsed.values.end() && it->second.front() == "true";
  };
  if (is_set("version")) {
    say("{}\n", program_version);
    return 0;
  }
  if (is_set("help") || !command.run) {
    print(help_text(command, found.path, is_set("all")));
    if (is_set("help") || parsed.args.empty()) return 0;
    fail("unknown command \"{}\" for \"incus {}\"", parsed.args[0], found.path);
  }
  auto count = static_cast<int>(parsed.args.size());
  if (count < command.least || (command.most >= 0 && count > command.most)) {
    print(help_text(command, found.path, false));
    if (count == 0) return 0;
    fail("Invalid number of arguments");
  }
  Context context(command, found.path, std::move(parsed));
  return command.run(context);
}

void print(std::string_view text) {
  while (!text.empty()) {
    auto n = ::write(1, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw Failure("", errno == EPIPE ? 141 : 1);
    text.remove_prefix(static_cast<std::size_t>(n));
  }
}
void print_error(std::string_view text) {
  while (!text.empty()) {
    auto n = ::write(2, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return;
    text.remove_prefix(static_cast<std::size_t>(n));
  }
}

} // namespace cli
