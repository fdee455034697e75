// SPDX-License-Identifier: Apache-2.0
#include <charconv>
#include <cmath>
#include <fmt/format.h>

#include "base/error.hpp"
#include "base/names.hpp"
#include "image/template_parts.hpp"

namespace incus::image::language {

namespace {

constexpr std::size_t max_text = 16 << 20, max_steps = 1'000'000;
constexpr int max_depth = 64;

class Constant final : public Expression {
public:
  Constant(int line, json::value v) : Expression(line), v_(std::move(v)) {}
  json::value value(State &s) const override {
    s.step(line(), v_.is_string() ? v_.get_string().size() : 0);
    return v_;
  }

private:
  json::value v_;
};

/// A name with what is behind it: ".field", "[key]", "(arguments)".
class Path final : public Expression {
public:
  Path(int line, std::string name) : Expression(line), name_(std::move(name)) {}
  void add(ExpressionPtr key) { keys_.push_back(std::move(key)); }
  void call(std::vector<ExpressionPtr> arguments) {
    arguments_ = std::move(arguments);
    called_ = true;
  }
  bool has_keys() const { return !keys_.empty(); }
  bool called() const { return called_; }

  json::value value(State &s) const override {
    s.step(line());
    json::value held;
    const json::value *at = nullptr;
    if (called_) {
      auto f = s.function(name_);
      if (!f) wrong(line(), "there is no function " + base::quoted(name_));
      std::vector<json::value> given;
      for (auto &a : arguments_) given.push_back(a->value(s));
      held = (*f)(given);
      at = &held;
    } else {
      at = s.find(name_);
    }
    for (auto &k : keys_) {
      auto key = k->value(s);
      at = at ? inside(*at, key) : nullptr;
    }
    if (!at) return nullptr;
    // A copy of much is much work.
    s.step(line(), at->is_string() ? at->get_string().size() : at->is_object() ? 256 * at->get_object().size() : at->is_array() ? 256 * at->get_array().size() : 0);
    return *at;
  }

private:
  static const json::value *inside(const json::value &v, const json::value &key) {
    if (auto *o = v.if_object()) return o->if_contains(print(key));
    if (auto *a = v.if_array(); a && key.is_int64() && key.get_int64() >= 0) return a->if_contains(static_cast<std::size_t>(key.get_int64()));
    return nullptr;
  }

  std::string name_;
  std::vector<ExpressionPtr> keys_, arguments_;
  bool called_ = false;
};

class Filtered final : public Expression {
public:
  Filtered(int line, ExpressionPtr in, Filter f, ExpressionPtr argument) : Expression(line), in_(std::move(in)), f_(f), argument_(std::move(argument)) {}
  json::value value(State &s) const override {
    s.step(line());
    auto in = in_->value(s);
    if (!argument_) return f_(s, line(), in, nullptr);
    auto argument = argument_->value(s);
    return f_(s, line(), in, &argument);
  }

private:
  ExpressionPtr in_;
  Filter f_;
  ExpressionPtr argument_;
};

bool is_number(const json::value &v) { return v.is_int64() || v.is_double(); }
double real(const json::value &v) { return v.is_int64() ? static_cast<double>(v.get_int64()) : v.get_double(); }

bool equal(const json::value &a, const json::value &b) {
  if (is_number(a) && is_number(b) && a.kind() != b.kind()) return real(a) == real(b);
  return a == b;
}

bool less(const json::value &a, const json::value &b, int line) {
  if (a.is_int64() && b.is_int64()) return a.get_int64() < b.get_int64();
  if (is_number(a) && is_number(b)) return real(a) < real(b);
  if (a.is_string() && b.is_string()) return a.get_string() < b.get_string();
  wrong(line, "only two numbers or two texts can be put in an order");
}

bool holds(State &s, int line, const json::value &all, const json::value &one) {
  if (auto *o = all.if_object()) return o->contains(print(one));
  if (auto *a = all.if_array()) {
    for (auto &v : *a) {
      s.step(line);
      if (equal(v, one)) return true;
    }
    return false;
  }
  if (auto *t = all.if_string()) {
    auto part = print(one);
    s.step(line, t->size());
    return std::string_view(*t).find(part) != std::string_view::npos;
  }
  return false;
}

json::value calculate(State &s, int line, char op, const json::value &a, const json::value &b) {
  if (op == '+' && (a.is_string() || b.is_string())) return text(s, line, print(a) + print(b));
  if (!is_number(a) || !is_number(b)) wrong(line, fmt::format("'{}' wants two numbers", op));
  if (a.is_double() || b.is_double()) {
    double x = real(a), y = real(b);
    if ((op == '/' || op == '%') && y == 0) wrong(line, "division by zero");
    return op == '+' ? x + y : op == '-' ? x - y : op == '*' ? x * y : op == '/' ? x / y : std::fmod(x, y);
  }
  std::int64_t x = a.get_int64(), y = b.get_int64(), out = 0;
  bool over = false;
  switch (op) {
  case '+': over = __builtin_add_overflow(x, y, &out); break;
  case '-': over = __builtin_sub_overflow(x, y, &out); break;
  case '*': over = __builtin_mul_overflow(x, y, &out); break;
  default:
#ifndef INCUS_PLANTED_BUG // the fuzzer must notice when this line is missing
    if (y == 0) wrong(line, "division by zero");
#endif
    over = y == -1 && x == INT64_MIN;
    if (!over) out = op == '/' ? x / y : x % y;
  }
  if (over) wrong(line, "a number is too large");
  return out;
}

class Binary final : public Expression {
public:
  Binary(int line, std::string op, ExpressionPtr a, ExpressionPtr b) : Expression(line), op_(std::move(op)), a_(std::move(a)), b_(std::move(b)) {}
  json::value value(State &s) const override {
    s.step(line());
    auto a = a_->value(s);
    if (op_ == "or") return truth(a) ? true : truth(b_->value(s));
    if (op_ == "and") return truth(a) ? truth(b_->value(s)) : false;
    auto b = b_->value(s);
    if (op_ == "==") return equal(a, b);
    if (op_ == "!=" || op_ == "<>") return !equal(a, b);
    if (op_ == "<") return less(a, b, line());
    if (op_ == ">") return less(b, a, line());
    if (op_ == "<=") return !less(b, a, line());
    if (op_ == ">=") return !less(a, b, line());
    if (op_ == "in") return holds(s, line(), b, a);
    if (op_ == "not in") return !holds(s, line(), b, a);
    return calculate(s, line(), op_[0], a, b);
  }

private:
  std::string op_;
  ExpressionPtr a_, b_;
};

class Unary final : public Expression {
public:
  Unary(int line, bool negative, ExpressionPtr a) : Expression(line), negative_(negative), a_(std::move(a)) {}
  json::value value(State &s) const override {
    s.step(line());
    auto a = a_->value(s);
    if (!negative_) return !truth(a);
    return calculate(s, line(), '-', 0, a);
  }

private:
  bool negative_;
  ExpressionPtr a_;
};

/// Counts how deep a parser is in itself.
class Deeper {
public:
  Deeper(int &depth, int line) : depth_(depth) {
    if (++depth_ > max_depth) {
      --depth_;
      wrong(line, fmt::format("nested deeper than {} levels", max_depth));
    }
  }
  ~Deeper() { --depth_; }
  Deeper(const Deeper &) = delete;
  Deeper &operator=(const Deeper &) = delete;

private:
  int &depth_;
};

} // namespace

void wrong(int line, const std::string &what) { base::fail(ErrorCode::invalid_argument, "line {}: {}", line, what); }

void State::step(int line, std::size_t bytes) {
  steps_ += 1 + bytes / 256;
  if (steps_ > max_steps) base::fail(ErrorCode::too_large, "line {}: the template takes more than {} steps", line, max_steps);
}

const json::value *State::find(std::string_view name) const {
  for (auto i = scopes_.rbegin(); i != scopes_.rend(); ++i)
    if (auto *v = i->if_contains(name)) return v;
  return context_.values.if_contains(name);
}

const TemplateFunction *State::function(std::string_view name) const {
  auto i = context_.functions.find(name);
  return i == context_.functions.end() ? nullptr : &i->second;
}

std::string print(const json::value &v) {
  switch (v.kind()) {
  case json::kind::null: return "";
  case json::kind::bool_: return v.get_bool() ? "True" : "False";
  case json::kind::int64: return std::to_string(v.get_int64());
  case json::kind::double_: return fmt::format("{:f}", v.get_double());
  case json::kind::string: return std::string(v.get_string());
  default: return json::serialize(v);
  }
}

bool truth(const json::value &v) {
  switch (v.kind()) {
  case json::kind::null: return false;
  case json::kind::bool_: return v.get_bool();
  case json::kind::int64: return v.get_int64() != 0;
  case json::kind::uint64: return v.get_uint64() != 0;
  case json::kind::double_: return v.get_double() != 0;
  case json::kind::string: return !v.get_string().empty();
  case json::kind::array: return !v.get_array().empty();
  default: return !v.get_object().empty();
  }
}

std::int64_t whole(const json::value &v, int line, std::string_view of) {
  if (v.is_int64()) return v.get_int64();
  std::int64_t n = 0;
  auto t = print(v);
  auto [end, e] = std::from_chars(t.data(), t.data() + t.size(), n);
  if (e != std::errc() || end != t.data() + t.size()) wrong(line, fmt::format("{} wants a whole number, not {}", of, base::quoted(t)));
  return n;
}

json::value text(State &s, int line, std::string t) {
  if (t.size() > max_text) base::fail(ErrorCode::too_large, "line {}: a text is larger than {} bytes", line, max_text);
  s.step(line, t.size());
  return json::value(std::move(t));
}

const Token &Words::peek() const {
  static const Token none;
  return done() ? none : tokens_[at_];
}

Token Words::next() {
  if (done()) wrong(line_, "something is missing at the end of the tag");
  return tokens_[at_++];
}

bool Words::take(std::string_view what) {
  if (!is_symbol(what) && !is_word(what)) return false;
  at_++;
  return true;
}

void Words::need(std::string_view what) {
  if (!take(what)) wrong(line_, fmt::format("{} must follow {}", base::quoted(what), at_ ? "after " + base::quoted(tokens_[at_ - 1].text) : "here"));
}

std::string Words::name(std::string_view what) {
  if (peek().kind != Token::Kind::name) wrong(line_, fmt::format("the name of {} is missing", what));
  return next().text;
}

void Words::finish(std::string_view tag) const {
  if (!done()) wrong(line_, fmt::format("{} is not understood in {}", base::quoted(peek().text), tag));
}

ExpressionPtr Words::expression() {
  Deeper deeper(depth_, line_);
  return parse_or();
}

ExpressionPtr Words::parse_or() {
  auto a = parse_and();
  while (take("or") || take("||")) a = std::make_unique<Binary>(line_, "or", std::move(a), parse_and());
  return a;
}

ExpressionPtr Words::parse_and() {
  auto a = parse_not();
  while (take("and") || take("&&")) a = std::make_unique<Binary>(line_, "and", std::move(a), parse_not());
  return a;
}

ExpressionPtr Words::parse_not() {
  Deeper deeper(depth_, line_);
  if (take("not") || take("!")) return std::make_unique<Unary>(line_, false, parse_not());
  return parse_comparison();
}

ExpressionPtr Words::parse_comparison() {
  auto a = parse_sum();
  for (auto *op : {"==", "!=", "<>", "<=", ">=", "<", ">", "in"})
    if (take(op)) return std::make_unique<Binary>(line_, op, std::move(a), parse_sum());
  if (take("not")) {
    need("in");
    return std::make_unique<Binary>(line_, "not in", std::move(a), parse_sum());
  }
  return a;
}

ExpressionPtr Words::parse_sum() {
  auto a = parse_product();
  for (;;) {
    if (take("+"))
      a = std::make_unique<Binary>(line_, "+", std::move(a), parse_product());
    else if (take("-"))
      a = std::make_unique<Binary>(line_, "-", std::move(a), parse_product());
    else
      return a;
  }
}

ExpressionPtr Words::parse_product() {
  auto a = parse_factor();
  for (;;) {
    const char *op = is_symbol("*") ? "*" : is_symbol("/") ? "/" : is_symbol("%") ? "%" : nullptr;
    if (!op) return a;
    next();
    a = std::make_unique<Binary>(line_, op, std::move(a), parse_factor());
  }
}

ExpressionPtr Words::parse_factor() {
  Deeper deeper(depth_, line_);
  if (take("-")) return std::make_unique<Unary>(line_, true, parse_factor());
  auto a = parse_primary();
  while (take("|")) {
    auto filter = name("a filter");
    auto f = filter_named(filter);
    if (!f) wrong(line_, "there is no filter " + base::quoted(filter));
    a = std::make_unique<Filtered>(line_, std::move(a), f, take(":") ? parse_primary() : nullptr);
  }
  return a;
}

ExpressionPtr Words::parse_primary() {
  if (take("(")) {
    auto inner = expression();
    need(")");
    return inner;
  }
  auto t = next();
  if (t.kind == Token::Kind::text) return std::make_unique<Constant>(line_, json::value(t.text));
  if (t.kind == Token::Kind::number) {
    auto *end = t.text.data() + t.text.size();
    if (t.text.find('.') != t.text.npos) {
      double d = 0;
      std::from_chars(t.text.data(), end, d);
      return std::make_unique<Constant>(line_, d);
    }
    std::int64_t n = 0;
    if (std::from_chars(t.text.data(), end, n).ec != std::errc()) wrong(line_, "number " + t.text + " is too large");
    return std::make_unique<Constant>(line_, n);
  }
  if (t.kind != Token::Kind::name) wrong(line_, base::quoted(t.text) + " is not understood here");
  if (t.text == "true" || t.text == "True") return std::make_unique<Constant>(line_, true);
  if (t.text == "false" || t.text == "False") return std::make_unique<Constant>(line_, false);
  if (t.text == "nil" || t.text == "None" || t.text == "none") return std::make_unique<Constant>(line_, nullptr);
  auto path = std::make_unique<Path>(line_, t.text);
  for (;;) {
    if (take(".")) {
      auto key = next();
      if (key.kind == Token::Kind::number)
        path->add(std::make_unique<Constant>(line_, whole(json::value(key.text), line_, "an index")));
      else if (key.kind == Token::Kind::name)
        path->add(std::make_unique<Constant>(line_, json::value(key.text)));
      else
        wrong(line_, "a name or an index must follow '.'");
    } else if (take("[")) {
      path->add(expression());
      need("]");
    } else if (!path->has_keys() && !path->called() && take("(")) {
      std::vector<ExpressionPtr> arguments;
      if (!take(")")) {
        do arguments.push_back(expression());
        while (take(","));
        need(")");
      }
      path->call(std::move(arguments));
    } else {
      return path;
    }
  }
}

} // namespace incus::image::language
