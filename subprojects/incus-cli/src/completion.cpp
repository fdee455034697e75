// SPDX-License-Identifier: Apache-2.0
// Shell completion. The scripts ask this program: `incus completion words WORD...` prints what may stand for the last word.
#include "output.hpp"
#include "server.hpp"

namespace cli {

namespace {

void add_names(Strings &out, Context &c, const std::string &last, std::initializer_list<std::string_view> what) {
  auto colon = last.find(':');
  auto remote = colon == std::string::npos ? c.settings.default_remote : last.substr(0, colon);
  if (!c.settings.remotes.count(remote)) return;
  try {
    auto list = c.server(remote).get(url(what));
    if (!list.is_array()) return;
    for (auto &l : list.get_array()) {
      std::string path(l.as_string());
      path = path.substr(0, path.find('?'));
      out.push_back((colon == std::string::npos ? "" : remote + ":") + path.substr(path.rfind('/') + 1));
    }
  } catch (const std::exception &) {
    // No server, no names.
  }
}

int words(Context &c) {
  const Command *at = &root_command();
  std::size_t i = 0;
  for (; i + 1 < c.args.size(); i++) {
    const Command *next = nullptr;
    for (auto &child : at->children)
      if (child.is(c.args[i])) next = &child;
    if (!next) break;
    at = next;
  }
  auto last = c.args.empty() ? std::string() : c.args.back();
  Strings found;
  if (!at->children.empty()) {
    for (auto &child : at->children) found.emplace_back(child.name());
  } else if (!last.empty() && last[0] == '-') {
    for (auto &f : at->flags) found.push_back("--" + std::string(f.name));
    for (auto &f : global_flags()) found.push_back("--" + std::string(f.name));
  } else {
    auto usage = at->usage;
    bool first = i + 1 >= c.args.size();
    if (usage.starts_with("[<remote>:]<instance>") || usage.starts_with("[<remote>:][<instance>") || usage.starts_with("[<remote>:]<source>"))
      add_names(found, c, last, {"instances"});
    else if (usage.starts_with("[<remote>:]<image>") && first)
      add_names(found, c, last, {"images", "aliases"});
    else if (usage.starts_with("[<remote>:]<profile>") && first)
      add_names(found, c, last, {"profiles"});
    else if (usage.starts_with("[<remote>:]<project>") && first)
      add_names(found, c, last, {"projects"});
    else if (usage.starts_with("[<remote>:]<pool>") && first)
      add_names(found, c, last, {"storage-pools"});
    else if (usage.starts_with("[<remote>:]<network>") && first)
      add_names(found, c, last, {"networks"});
    if (usage.find("<remote>") != std::string_view::npos && last.find(':') == std::string::npos)
      for (auto &[name, r] : c.settings.remotes) found.push_back(name + (usage.starts_with("<remote>") ? "" : ":"));
  }
  std::sort(found.begin(), found.end());
  for (auto &f : found)
    if (f.rfind(last, 0) == 0) say("{}\n", f);
  return 0;
}

constexpr std::string_view bash_script = R"(# bash completion for incus: source it, or put it into /usr/share/bash-completion/completions/incus
_incus() {
  local cur=${COMP_WORDS[COMP_CWORD]}
  local words=("${COMP_WORDS[@]:1:COMP_CWORD}")
  local IFS=$'\n'
  # bash splits at colons; glue REMOTE:NAME together again.
  if declare -F _get_comp_words_by_ref >/dev/null; then
    local cword
    _get_comp_words_by_ref -n : cur words cword
    words=("${words[@]:1:cword}")
  fi
  COMPREPLY=($(incus completion words -- "${words[@]}" 2>/dev/null))
  if [ ${#COMPREPLY[@]} -eq 0 ]; then COMPREPLY=($(compgen -f -- "$cur")); fi
  declare -F __ltrim_colon_completions >/dev/null && __ltrim_colon_completions "$cur"
}
complete -F _incus incus
)";
constexpr std::string_view zsh_script = R"(#compdef incus
# zsh completion for incus: put it as _incus into a folder of $fpath
_incus() {
  local -a found
  found=("${(@f)$(incus completion words -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
  if [[ -n "$found" ]]; then compadd -a found; else _files; fi
}
compdef _incus incus
)";
constexpr std::string_view fish_script = R"(# fish completion for incus: put it into ~/.config/fish/completions/incus.fish
function __incus_words
  set -l words (commandline -opc)[2..-1] (commandline -ct)
  incus completion words -- $words 2>/dev/null
end
complete -c incus -a '(__incus_words)'
)";

} // namespace

Command completion_command() {
  Command c;
  c.names = "completion";
  c.brief = "Generate the autocompletion script for the specified shell";
  c.hidden = true;
  c.children = {
      {"bash",
       "",
       "Generate the autocompletion script for bash",
       0,
       0,
       [](Context &) {
         print(bash_script);
         return 0;
       },
       {},
       {},
       {},
       "source <(incus completion bash)"},
      {"fish",
       "",
       "Generate the autocompletion script for fish",
       0,
       0,
       [](Context &) {
         print(fish_script);
         return 0;
       },
       {},
       {},
       {},
       "incus completion fish | source"},
      {"zsh",
       "",
       "Generate the autocompletion script for zsh",
       0,
       0,
       [](Context &) {
         print(zsh_script);
         return 0;
       },
       {},
       {},
       {},
       "incus completion zsh > \"${fpath[1]}/_incus\""},
      {"words", "[--] <word>...", "Print what may stand for the last word", 0, -1, words, {}, {}, {}, {}, true},
  };
  return c;
}

} // namespace cli
