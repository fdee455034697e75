// SPDX-License-Identifier: Apache-2.0
#include "image/template.hpp"

#include <algorithm>
#include <fmt/format.h>

#include "base/error.hpp"
#include "base/names.hpp"
#include "image/template_parts.hpp"

namespace incus::image {

namespace language {

namespace {

constexpr std::size_t max_output = 16 << 20, max_words = 1000;
constexpr int max_nesting = 64;

class Node {
public:
  virtual ~Node() = default;
  virtual void render(State &s, std::string &out) const = 0;
};
using Block = std::vector<std::unique_ptr<Node>>;

void render_all(const Block &block, State &s, std::string &out) {
  for (auto &n : block) n->render(s, out);
}

void put(State &s, int line, std::string &out, std::string_view t) {
  s.step(line, t.size());
  if (out.size() + t.size() > max_output) base::fail(ErrorCode::too_large, "line {}: the result is larger than {} bytes", line, max_output);
  out += t;
}

class Literal final : public Node {
public:
  Literal(int line, std::string t) : line_(line), text_(std::move(t)) {}
  void render(State &s, std::string &out) const override { put(s, line_, out, text_); }

private:
  int line_;
  std::string text_;
};

/// Prints the first of its values that is anything; {{ }} has one and prints it whatever it is.
class Output final : public Node {
public:
  explicit Output(std::vector<ExpressionPtr> all) : all_(std::move(all)) {}
  void render(State &s, std::string &out) const override {
    for (auto &e : all_) {
      auto v = e->value(s);
      if (all_.size() > 1 && !truth(v)) continue;
      return put(s, e->line(), out, print(v));
    }
  }

private:
  std::vector<ExpressionPtr> all_;
};

class If final : public Node {
public:
  struct Branch {
    ExpressionPtr condition; ///< none: else
    Block block;
  };
  explicit If(std::vector<Branch> branches) : branches_(std::move(branches)) {}
  void render(State &s, std::string &out) const override {
    for (auto &b : branches_)
      if (!b.condition || truth(b.condition->value(s))) return render_all(b.block, s, out);
  }

private:
  std::vector<Branch> branches_;
};

class For final : public Node {
public:
  std::string first, second; ///< second only with keys and values
  ExpressionPtr over;
  bool reversed = false, sorted = false;
  Block body, empty;

  void render(State &s, std::string &out) const override {
    auto items = all(s);
    if (items.empty()) return render_all(empty, s, out);
    const json::value *outer = s.find("forloop");
    json::value parent = outer ? *outer : json::value();
    auto count = static_cast<std::int64_t>(items.size());
    for (std::int64_t i = 0; i < count; i++) {
      s.step(over->line());
      State::Scope scope(s);
      auto &item = items[static_cast<std::size_t>(i)];
      s.set(first, std::move(item.first));
      if (!second.empty()) s.set(second, std::move(item.second));
      s.set("forloop", json::object{{"Counter", i + 1}, {"Counter0", i}, {"Revcounter", count - i}, {"Revcounter0", count - i - 1}, {"First", i == 0},
                                    {"Last", i + 1 == count}, {"Parentloop", parent}, {"counter", i + 1}, {"counter0", i}, {"revcounter", count - i},
                                    {"revcounter0", count - i - 1}, {"first", i == 0}, {"last", i + 1 == count}});
      render_all(body, s, out);
    }
  }

private:
  using Item = std::pair<json::value, json::value>;
  std::vector<Item> all(State &s) const {
    auto v = over->value(s);
    std::vector<Item> out;
    if (auto *a = v.if_array())
      for (auto &x : *a) out.emplace_back(std::move(x), nullptr);
    if (auto *o = v.if_object()) {
      for (auto &kv : *o) out.emplace_back(json::value(kv.key()), std::move(kv.value()));
      // Maps have no order of their own; results should not change from one time to the next.
      std::sort(out.begin(), out.end(), [](auto &a, auto &b) { return a.first.get_string() < b.first.get_string(); });
    } else if (v.is_string()) {
      auto list = filter_named("make_list")(s, over->line(), v, nullptr);
      for (auto &x : list.get_array()) out.emplace_back(std::move(x), nullptr);
    }
    s.step(over->line(), out.size() * 256);
    if (sorted) std::stable_sort(out.begin(), out.end(), [](auto &a, auto &b) { return print(a.first) < print(b.first); });
    if (reversed) std::reverse(out.begin(), out.end());
    return out;
  }
};

/// {% set %}, and {% with %} which has a block of its own.
class Set final : public Node {
public:
  std::vector<std::pair<std::string, ExpressionPtr>> values;
  std::optional<Block> block;
  void render(State &s, std::string &out) const override {
    std::vector<json::value> found;
    for (auto &[name, e] : values) found.push_back(e->value(s));
    std::optional<State::Scope> scope;
    if (block) scope.emplace(s);
    for (std::size_t i = 0; i < values.size(); i++) s.set(values[i].first, std::move(found[i]));
    if (block) render_all(*block, s, out);
  }
};

bool name_begins(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

class Parser {
public:
  explicit Parser(std::string_view text) : text_(text) {}

  Block all() {
    std::string end;
    return block({}, end, "");
  }

private:
  /// What stands between {{ and }}, or {% and %}.
  Words words(std::string_view close) {
    int line = line_;
    std::vector<Token> out;
    for (;;) {
      while (at_ < text_.size() && is_blank(text_[at_])) skip(1);
      if (at_ >= text_.size()) wrong(line, fmt::format("\"{}\" is missing", close));
      if (text_.substr(at_).starts_with(close)) break;
      if (text_[at_] == '-' && text_.substr(at_ + 1).starts_with(close)) {
        trim_next_ = true;
        skip(1);
        break;
      }
      if (out.size() == max_words) wrong(line, fmt::format("a tag has more than {} words", max_words));
      out.push_back(token());
    }
    skip(close.size());
    return {std::move(out), line};
  }

  Token token() {
    Token t;
    t.line = line_;
    char c = text_[at_];
    auto from = at_;
    if (name_begins(c)) {
      t.kind = Token::Kind::name;
      while (at_ < text_.size() && (name_begins(text_[at_]) || is_digit(text_[at_]))) at_++;
      t.text = text_.substr(from, at_ - from);
    } else if (is_digit(c)) {
      t.kind = Token::Kind::number;
      bool after_dot = from > 0 && text_[from - 1] == '.';
      while (at_ < text_.size() && (is_digit(text_[at_]) || (text_[at_] == '.' && !after_dot && at_ + 1 < text_.size() && is_digit(text_[at_ + 1]) &&
                                                             text_.substr(from, at_ - from).find('.') == std::string_view::npos)))
        at_++;
      t.text = text_.substr(from, at_ - from);
    } else if (c == '"' || c == '\'') {
      t.kind = Token::Kind::text;
      t.text = text(c);
    } else {
      t.kind = Token::Kind::symbol;
      auto two = text_.substr(at_, 2);
      for (auto *s : {"==", "!=", "<>", "<=", ">=", "&&", "||"})
        if (two == s) t.text = s;
      if (t.text.empty()) t.text = std::string(1, c);
      at_ += t.text.size();
    }
    return t;
  }

  std::string text(char quote) {
    int line = line_;
    std::string out;
    for (skip(1);; skip(1)) {
      if (at_ >= text_.size()) wrong(line, "a text is not closed");
      char c = text_[at_];
      if (c == quote) break;
      if (c == '\\' && at_ + 1 < text_.size()) {
        skip(1);
        c = text_[at_];
        c = c == 'n' ? '\n' : c == 't' ? '\t' : c == 'r' ? '\r' : c;
      }
      out += c;
    }
    skip(1);
    return out;
  }

  void skip(std::size_t n) {
    for (; n > 0 && at_ < text_.size(); n--)
      if (text_[at_++] == '\n') line_++;
  }

  /// Everything up to the next tag, as it stands.
  void literal(Block &out, std::size_t to) {
    int line = line_;
    auto part = text_.substr(at_, to - at_);
    skip(part.size());
    if (trim_next_) part.remove_prefix(std::min(part.size(), static_cast<std::size_t>(std::find_if_not(part.begin(), part.end(), is_blank) - part.begin())));
    trim_next_ = false;
    bool trimmed = to + 2 < text_.size() && text_[to + 2] == '-' && text_[to + 1] != '#';
    if (trimmed)
      while (!part.empty() && is_blank(part.back())) part.remove_suffix(1);
    if (!part.empty()) out.push_back(std::make_unique<Literal>(line, std::string(part)));
  }

  std::size_t next_tag() const {
    for (auto at = text_.find('{', at_); at != text_.npos; at = text_.find('{', at + 1))
      if (at + 1 < text_.size() && (text_[at + 1] == '{' || text_[at + 1] == '%' || text_[at + 1] == '#')) return at;
    return text_.size();
  }

  /// Up to one of the tags that end it, whose name is put into `end` and whose words into rest_.
  Block block(const std::vector<std::string_view> &ends, std::string &end, const std::string &of) {
    int line = line_;
    if (++nesting_ > max_nesting) wrong(line, fmt::format("tags are nested deeper than {} levels", max_nesting));
    Block out;
    for (;;) {
      literal(out, next_tag());
      if (at_ >= text_.size()) break;
      char kind = text_[at_ + 1];
      int begun = line_;
      skip(2);
      if (kind == '#') {
        auto to = text_.find("#}", at_);
        if (to == text_.npos) wrong(begun, "\"#}\" is missing");
        skip(to + 2 - at_);
        continue;
      }
      if (at_ < text_.size() && text_[at_] == '-') skip(1);
      if (kind == '{') {
        auto w = words("}}");
        std::vector<ExpressionPtr> one;
        one.push_back(w.expression());
        w.finish("{{ }}");
        out.push_back(std::make_unique<Output>(std::move(one)));
        continue;
      }
      auto w = words("%}");
      auto tag = w.name("a tag");
      if (std::find(ends.begin(), ends.end(), tag) != ends.end()) {
        end = tag;
        rest_.emplace(std::move(w));
        nesting_--;
        return out;
      }
      this->tag(out, tag, w);
    }
    if (!ends.empty()) wrong(line, fmt::format("{{% {} %}} has no {{% {} %}}", of, ends.back()));
    nesting_--;
    return out;
  }

  void tag(Block &out, const std::string &tag, Words &w) {
    std::string end;
    if (tag == "if" || tag == "ifequal" || tag == "ifnotequal") return parse_if(out, tag, w);
    if (tag == "for") return parse_for(out, w);
    if (tag == "set") {
      auto n = std::make_unique<Set>();
      auto name = w.name("a variable");
      w.need("=");
      n->values.emplace_back(name, w.expression());
      w.finish(tag);
      out.push_back(std::move(n));
    } else if (tag == "with") {
      auto n = std::make_unique<Set>();
      while (!w.done()) {
        auto name = w.name("a variable");
        w.need("=");
        n->values.emplace_back(name, w.expression());
      }
      n->block = block({"endwith"}, end, tag);
      out.push_back(std::move(n));
    } else if (tag == "firstof") {
      std::vector<ExpressionPtr> all;
      while (!w.done()) all.push_back(w.expression());
      // With one alone nothing is left out, as nothing is printed for nothing.
      out.push_back(std::make_unique<Output>(std::move(all)));
    } else if (tag == "autoescape") {
      if (!w.take("on")) w.need("off");
      w.finish(tag);
      for (auto &n : block({"endautoescape"}, end, tag)) out.push_back(std::move(n));
    } else if (tag == "comment" || tag == "verbatim") {
      raw(out, tag, w.line());
    } else if (tag == "templatetag") {
      static const std::map<std::string, std::string, std::less<>> tags{{"openblock", "{%"}, {"closeblock", "%}"}, {"openvariable", "{{"}, {"closevariable", "}}"},
                                                                        {"openbrace", "{"}, {"closebrace", "}"}, {"opencomment", "{#"}, {"closecomment", "#}"}};
      auto name = w.name("what to print");
      auto i = tags.find(name);
      if (i == tags.end()) wrong(w.line(), "templatetag knows no " + base::quoted(name));
      w.finish(tag);
      out.push_back(std::make_unique<Literal>(w.line(), i->second));
    } else if (tag == "include" || tag == "extends" || tag == "import" || tag == "ssi" || tag == "block" || tag == "macro") {
      wrong(w.line(), fmt::format("{{% {} %}} is not allowed: templates of images stand alone and read no files", tag));
    } else {
      wrong(w.line(), fmt::format("there is no tag {}", base::quoted(tag)));
    }
  }

  void raw(Block &out, const std::string &tag, int line) {
    for (auto at = text_.find("{%", at_); at != text_.npos; at = text_.find("{%", at + 1)) {
      auto in = at + 2;
      if (in < text_.size() && text_[in] == '-') in++;
      while (in < text_.size() && is_blank(text_[in])) in++;
      auto name = "end" + tag;
      if (!text_.substr(in).starts_with(name)) continue;
      std::string kept(text_.substr(at_, at - at_));
      if (tag == "verbatim") out.push_back(std::make_unique<Literal>(line_, kept));
      skip(in + name.size() - at_);
      words("%}").finish(name);
      return;
    }
    wrong(line, fmt::format("{{% {} %}} has no {{% end{} %}}", tag, tag));
  }

  void parse_if(Block &out, const std::string &tag, Words &w) {
    std::vector<If::Branch> branches;
    If::Branch b;
    if (tag == "if") {
      b.condition = w.expression();
    } else {
      // {% ifequal a b %} is an older way to say {% if a == b %}.
      auto first = w.expression();
      b.condition = compare(std::move(first), w.expression(), tag == "ifequal", w.line());
    }
    w.finish(tag);
    auto last = "end" + tag;
    for (;;) {
      std::string end;
      bool more = b.condition != nullptr;
      b.block = more ? block({"elif", "else", last}, end, tag) : block({last}, end, tag);
      branches.push_back(std::move(b));
      b = {};
      if (end == last) break;
      if (end == "elif") b.condition = rest_->expression();
    }
    rest_->finish(last);
    out.push_back(std::make_unique<If>(std::move(branches)));
  }

  static ExpressionPtr compare(ExpressionPtr a, ExpressionPtr b, bool equal, int line) {
    class Compare final : public Expression {
    public:
      Compare(int l, ExpressionPtr x, ExpressionPtr y, bool e) : Expression(l), x_(std::move(x)), y_(std::move(y)), equal_(e) {}
      json::value value(State &s) const override { return (x_->value(s) == y_->value(s)) == equal_; }

    private:
      ExpressionPtr x_, y_;
      bool equal_;
    };
    return std::make_unique<Compare>(line, std::move(a), std::move(b), equal);
  }

  void parse_for(Block &out, Words &w) {
    auto n = std::make_unique<For>();
    n->first = w.name("a variable");
    if (w.take(",")) n->second = w.name("a variable");
    w.need("in");
    n->over = w.expression();
    while (!w.done()) {
      if (w.take("reversed"))
        n->reversed = true;
      else if (w.take("sorted"))
        n->sorted = true;
      else
        w.finish("for");
    }
    std::string end;
    n->body = block({"empty", "endfor"}, end, "for");
    if (end == "empty") n->empty = block({"endfor"}, end, "for");
    rest_->finish("endfor");
    out.push_back(std::move(n));
  }

  std::string_view text_;
  std::size_t at_ = 0;
  int line_ = 1, nesting_ = 0;
  bool trim_next_ = false;
  std::optional<Words> rest_;
};

} // namespace

} // namespace language

std::string render_template(std::string_view text, const TemplateContext &context) {
  auto block = language::Parser(text).all();
  language::State state(context);
  std::string out;
  language::render_all(block, state, out);
  return out;
}

} // namespace incus::image
