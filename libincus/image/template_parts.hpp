// SPDX-License-Identifier: Apache-2.0
// Parts of the template language; template.cpp has the tags, template_expression.cpp the expressions, template_filters.cpp the filters.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "image/template.hpp"

namespace incus::image::language {

namespace json = boost::json;

[[noreturn]] void wrong(int line, const std::string &what);

/// What a run has used up and the names it knows.
class State {
public:
  explicit State(const TemplateContext &context) : context_(context) {}
  /// Counts work; `bytes` of text cost too.
  void step(int line, std::size_t bytes = 0);
  const json::value *find(std::string_view name) const;
  const TemplateFunction *function(std::string_view name) const;
  /// In the innermost scope.
  void set(std::string_view name, json::value v) { scopes_.back()[name] = std::move(v); }

  /// Names set while it lives are gone after it.
  class Scope {
  public:
    explicit Scope(State &s) : s_(s) { s_.scopes_.emplace_back(); }
    ~Scope() { s_.scopes_.pop_back(); }
    Scope(const Scope &) = delete;
    Scope &operator=(const Scope &) = delete;

  private:
    State &s_;
  };

private:
  const TemplateContext &context_;
  std::vector<json::object> scopes_{1};
  std::size_t steps_ = 0;
};

/// Text of a value as it is printed.
std::string print(const json::value &v);
bool truth(const json::value &v);
std::int64_t whole(const json::value &v, int line, std::string_view of);
/// A text of the language, whose size is limited.
json::value text(State &s, int line, std::string t);

class Expression {
public:
  explicit Expression(int line) : line_(line) {}
  virtual ~Expression() = default;
  virtual json::value value(State &s) const = 0;
  int line() const { return line_; }

private:
  int line_;
};
using ExpressionPtr = std::unique_ptr<Expression>;

struct Token {
  enum class Kind { end, name, text, number, symbol } kind = Kind::end;
  std::string text;
  int line = 1;
};

/// The words of one tag, and expressions made of them.
class Words {
public:
  Words(std::vector<Token> tokens, int line) : tokens_(std::move(tokens)), line_(line) {}
  int line() const { return line_; }
  bool done() const { return at_ == tokens_.size(); }
  const Token &peek() const;
  Token next();
  /// Takes the token when it is this symbol or word.
  bool take(std::string_view symbol_or_word);
  void need(std::string_view symbol_or_word);
  std::string name(std::string_view what);
  ExpressionPtr expression();
  /// Complains about what is left.
  void finish(std::string_view tag) const;

private:
  ExpressionPtr parse_or();
  ExpressionPtr parse_and();
  ExpressionPtr parse_not();
  ExpressionPtr parse_comparison();
  ExpressionPtr parse_sum();
  ExpressionPtr parse_product();
  ExpressionPtr parse_factor();
  ExpressionPtr parse_primary();
  bool is_symbol(std::string_view s) const { return peek().kind == Token::Kind::symbol && peek().text == s; }
  bool is_word(std::string_view s) const { return peek().kind == Token::Kind::name && peek().text == s; }

  std::vector<Token> tokens_;
  std::size_t at_ = 0;
  int line_, depth_ = 0;
};

using Filter = json::value (*)(State &, int line, const json::value &in, const json::value *argument);
/// Null when there is no such filter.
Filter filter_named(std::string_view name);

} // namespace incus::image::language
