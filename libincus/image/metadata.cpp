// SPDX-License-Identifier: Apache-2.0
// metadata.yaml. The text is walked as events first: a tree is built only of what passed the limits.
#include <set>
#include <sstream>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include "base/error.hpp"
#include "base/names.hpp"
#include "image/image.hpp"
#include "image/yaml.hpp"

namespace incus::image {

namespace {

using base::quoted;

constexpr std::size_t max_size = 1 << 20;
constexpr int max_depth = 32;
constexpr std::size_t max_nodes = 100'000;
constexpr const char *own = "metadata.yaml";

std::string line_of(const YAML::Mark &m) { return m.is_null() ? std::string("1") : std::to_string(m.line + 1); }

[[noreturn]] void refuse_in(const char *what, const YAML::Mark &m, const std::string &text) { base::fail(ErrorCode::corrupt, "{} line {}: {}", what, line_of(m), text); }
template <class... A> [[noreturn]] void refuse(const YAML::Mark &m, fmt::format_string<A...> f, A &&...a) {
  refuse_in(own, m, fmt::format(f, std::forward<A>(a)...));
}

/// Stops at what could grow beyond its text or nest without end.
class Guard final : public YAML::EventHandler {
public:
  Guard(const char *what, std::size_t nodes) : what_(what), most_(nodes) {}
  void OnDocumentStart(const YAML::Mark &) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark &m, YAML::anchor_t a) override { node(m, a); }
  void OnAlias(const YAML::Mark &m, YAML::anchor_t) override { refuse_in(what_, m, "aliases are not allowed"); }
  void OnScalar(const YAML::Mark &m, const std::string &, YAML::anchor_t a, const std::string &) override { node(m, a); }
  void OnSequenceStart(const YAML::Mark &m, const std::string &, YAML::anchor_t a, YAML::EmitterStyle::value) override { deeper(m, a); }
  void OnSequenceEnd() override { depth_--; }
  void OnMapStart(const YAML::Mark &m, const std::string &, YAML::anchor_t a, YAML::EmitterStyle::value) override { deeper(m, a); }
  void OnMapEnd() override { depth_--; }
  void OnAnchor(const YAML::Mark &m, const std::string &name) override {
    if (!name.empty()) refuse_in(what_, m, "anchors are not allowed");
  }

private:
  void node(const YAML::Mark &m, YAML::anchor_t a) {
    if (a) refuse_in(what_, m, "anchors are not allowed");
    if (++nodes_ > most_) refuse_in(what_, m, fmt::format("more than {} values", most_));
  }
  void deeper(const YAML::Mark &m, YAML::anchor_t a) {
    node(m, a);
    if (++depth_ > max_depth) refuse_in(what_, m, fmt::format("nested deeper than {} levels", max_depth));
  }
  const char *what_;
  std::size_t most_;
  int depth_ = 0;
  std::size_t nodes_ = 0;
};

/// yaml-cpp descends recursively into brackets and indentation before it tells of them: deep text is refused before it is parsed.
void check_text(const char *what, const std::string &yaml, std::size_t most) {
  if (yaml.size() > most) base::fail(ErrorCode::corrupt, "{} is larger than {} bytes", what, most);
  int line = 0, open = 0;
  std::size_t dashes = 0;
  bool at_start = true;
  for (char c : yaml) {
    if (c == '\0') base::fail(ErrorCode::corrupt, "{} line {}: a NUL byte", what, line + 1);
    if (c == '\n') {
      line++;
      at_start = true;
      dashes = 0;
      continue;
    }
    if (c == '[' || c == '{') open++;
    if ((c == ']' || c == '}') && open > 0) open--;
    if (at_start && (c == '-' || c == '?' || c == ':')) dashes++;
    if (at_start && c != '-' && c != '?' && c != ':' && c != ' ' && c != '\t') at_start = false;
    // Brackets may stand in quoted text; nobody writes a thousand of them open.
    if (open > 1000 || dashes > static_cast<std::size_t>(max_depth) * 4)
      base::fail(ErrorCode::corrupt, "{} line {}: nested deeper than {} levels", what, line + 1, max_depth);
  }
}

std::string text_of(const YAML::Node &n, std::string_view what) {
  if (n.IsNull()) return "";
  if (!n.IsScalar()) refuse(n.Mark(), "{} must be a text, not a list or map", what);
  return n.Scalar();
}

/// Keys and values of a map, each key a text that comes once.
std::vector<std::pair<std::string, YAML::Node>> fields(const YAML::Node &n, std::string_view what) {
  std::vector<std::pair<std::string, YAML::Node>> out;
  if (n.IsNull()) return out;
  if (!n.IsMap()) refuse(n.Mark(), "{} must be a map", what);
  std::set<std::string> seen;
  for (auto it = n.begin(); it != n.end(); ++it) {
    if (!it->first.IsScalar()) refuse(it->first.Mark(), "a key of {} must be a text", what);
    std::string key = it->first.Scalar();
    if (!seen.insert(key).second) refuse(it->first.Mark(), "key {} of {} comes twice", base::quoted(key), what);
    out.emplace_back(std::move(key), it->second);
  }
  return out;
}

Time time_of(const YAML::Node &n, std::string_view key, bool required) {
  std::string text = text_of(n, key);
  if (text.empty() && !required) return {};
  std::int64_t seconds = 0;
  bool ok = !text.empty() && text.size() <= 12;
  for (char c : text) {
    if (c < '0' || c > '9') ok = false;
    if (ok) seconds = seconds * 10 + (c - '0');
  }
  // Nanoseconds in 64 bits end in 2262; a year of four digits is what the wire can carry.
  if (!ok || seconds > 9'000'000'000 || (required && seconds == 0))
    refuse(n.Mark(), "{} {} must be seconds since 1970, from {} to 9000000000", key, base::quoted(text), required ? 1 : 0);
  return Time(std::chrono::seconds(seconds));
}

Config config_of(const YAML::Node &n, std::string_view what) {
  Config out;
  for (auto &[key, value] : fields(n, what)) {
    if (key.empty() || key.size() > 255 || !base::is_one_line(key)) refuse(value.Mark(), "key {} of {} must be a line of 1 to 255 bytes", base::quoted(key), what);
    out[key] = text_of(value, fmt::format("{} of {}", base::quoted(key), what));
  }
  return out;
}

void check_target(const std::string &path, const YAML::Mark &m) {
  if (path.empty() || path[0] != '/') refuse(m, "template target {} must be an absolute path", base::quoted(path));
  if (path.size() > 4095) refuse(m, "template target {} must be shorter than 4096 bytes", base::quoted(path));
  if (!base::is_one_line(path)) refuse(m, "template target {} must not hold a NUL or line break", base::quoted(path));
  if (path.back() == '/') refuse(m, "template target {} must name a file", base::quoted(path));
  for (std::size_t at = 0; at < path.size();) {
    std::size_t end = std::min(path.find('/', at), path.size());
    if (path.compare(at, end - at, "..") == 0) refuse(m, "template target {} must not hold \"..\"", base::quoted(path));
    at = end + 1;
  }
}

void check_source(const std::string &name, const YAML::Mark &m) {
#ifndef INCUS_PLANTED_BUG // the fuzzer must notice when this rule is missing
  if (name.find('/') != std::string::npos) refuse(m, "template source {} must be one file name, without '/'", base::quoted(name));
#endif
  if (name.empty() || name == "." || name == ".." || name.size() > 255 || !base::is_one_line(name))
    refuse(m, "template source {} must be one file name, without '/'", base::quoted(name));
}

void check_id(const std::string &text, std::string_view key, const YAML::Mark &m) {
  if (text.empty()) return;
  std::uint64_t n = 0;
  bool ok = text.size() <= 10;
  for (char c : text) {
    if (c < '0' || c > '9') ok = false;
    if (ok) n = n * 10 + static_cast<unsigned>(c - '0');
  }
  if (!ok || n >= UINT32_MAX) refuse(m, "{} {} must be a number from 0 to 4294967294", key, base::quoted(text));
}

void check_mode(const std::string &text, const YAML::Mark &m) {
  bool ok = text.size() <= 5;
  for (char c : text)
    if (c < '0' || c > '7') ok = false;
  if (!text.empty() && (!ok || std::stoul(text, nullptr, 8) > 07777)) refuse(m, "mode {} must be octal, from 0 to 7777", base::quoted(text));
}

Template template_of(const std::string &target, const YAML::Node &n) {
  Template t;
  std::string what = "template " + base::quoted(target);
  for (auto &[key, value] : fields(n, what)) {
    if (key == "when") {
      if (!value.IsNull() && !value.IsSequence()) refuse(value.Mark(), "when of {} must be a list", what);
      for (std::size_t i = 0; i < value.size(); i++) {
        std::string w = text_of(value[i], "an entry of when");
        if (w.empty()) continue; // said by tools that mean "never"
        if (w != "create" && w != "copy" && w != "rename" && w != "start")
          refuse(value[i].Mark(), "when {} of {} must be create, copy, rename or start", base::quoted(w), what);
        t.when.push_back(w);
      }
    } else if (key == "create_only") {
      std::string v = text_of(value, key);
      if (v != "true" && v != "false" && !v.empty()) refuse(value.Mark(), "create_only {} of {} must be true or false", base::quoted(v), what);
      t.create_only = v == "true";
    } else if (key == "template") {
      t.source = text_of(value, key);
      check_source(t.source, value.Mark());
    } else if (key == "properties") {
      t.properties = config_of(value, "properties of " + what);
    } else if (key == "uid" || key == "gid") {
      (key == "uid" ? t.uid : t.gid) = text_of(value, key);
      check_id(key == "uid" ? t.uid : t.gid, key, value.Mark());
    } else if (key == "mode") {
      t.mode = text_of(value, key);
      check_mode(t.mode, value.Mark());
    } // other keys are of later versions
  }
  if (t.source.empty()) refuse(n.Mark(), "{} names no template file", what);
  return t;
}

Metadata read(const YAML::Node &root) {
  if (!root.IsMap()) refuse(root.Mark(), "the document must be a map");
  Metadata out;
  bool architecture = false, creation = false;
  for (auto &[key, value] : fields(root, "the document")) {
    if (key == "architecture") {
      std::string name = text_of(value, key);
      out.architecture = canonical_architecture(name);
      if (out.architecture.empty()) refuse(value.Mark(), "architecture {} is not known; x86_64 and aarch64 are examples", base::quoted(name));
      architecture = true;
    } else if (key == "creation_date") {
      out.creation_date = time_of(value, key, true);
      creation = true;
    } else if (key == "expiry_date") {
      out.expiry_date = time_of(value, key, false);
    } else if (key == "properties") {
      out.properties = config_of(value, "properties");
    } else if (key == "templates") {
      for (auto &[target, t] : fields(value, "templates")) {
        check_target(target, t.Mark());
        out.templates.emplace(target, template_of(target, t));
      }
    }
  }
  if (!architecture) base::fail(ErrorCode::corrupt, "metadata.yaml holds no architecture, which is required");
  if (!creation) base::fail(ErrorCode::corrupt, "metadata.yaml holds no creation_date, which is required");
  return out;
}

} // namespace

YAML::Node load_yaml(const char *what, const std::string &yaml, std::size_t most, std::size_t values) {
  check_text(what, yaml, most);
  try {
    std::istringstream in(yaml);
    YAML::Parser parser(in);
    Guard guard(what, values);
    if (!parser.HandleNextDocument(guard)) base::fail(ErrorCode::corrupt, "{} is empty", what);
    Guard second(what, values);
    if (parser.HandleNextDocument(second)) base::fail(ErrorCode::corrupt, "{} holds more than one document", what);
    return YAML::Load(yaml);
  } catch (const YAML::Exception &e) {
    refuse_in(what, e.mark, e.msg);
  }
}

Metadata parse_metadata(const std::string &yaml) {
  try {
    return read(load_yaml(own, yaml, max_size, max_nodes));
  } catch (const YAML::Exception &e) {
    refuse(e.mark, "{}", e.msg);
  }
}

} // namespace incus::image
