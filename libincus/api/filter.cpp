// SPDX-License-Identifier: Apache-2.0
#include "api/filter.hpp"

#include <boost/json.hpp>
#include <boost/regex.hpp>
#include <charconv>
#include <optional>
#include <vector>

#include "base/error.hpp"
#include "base/names.hpp"

namespace incus::api {

namespace json = boost::json;

namespace {

constexpr std::size_t max_length = 16384;
constexpr int max_depth = 32;

bool blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\v' || c == '\f'; }

std::string lower(std::string_view t) {
  std::string out(t);
  for (auto &c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  return out;
}

enum class Operator { eq, ne, gt, ge, lt, le };

std::optional<Operator> operator_of(std::string_view word) {
  auto w = lower(word);
  if (w == "eq") return Operator::eq;
  if (w == "ne") return Operator::ne;
  if (w == "gt") return Operator::gt;
  if (w == "ge") return Operator::ge;
  if (w == "lt") return Operator::lt;
  if (w == "le") return Operator::le;
  return {};
}

struct Clause {
  std::string field, value;
  Operator op = Operator::eq;
  bool plain = true;                ///< the value holds nothing a regular expression would read in a way of its own
  std::optional<boost::regex> text; ///< the value as such an expression, when it is one
};

/// The value a field's name leads to; null when there is none. Below the record itself a key may hold dots (config.user.x).
const json::value *find(const json::object &o, std::string_view field) {
  if (auto *v = o.if_contains(json::string_view(field.data(), field.size()))) return v;
  for (auto cut = field.find('.'); cut != std::string_view::npos; cut = field.find('.', cut + 1))
    if (auto *v = o.if_contains(json::string_view(field.data(), cut)))
      if (auto *inner = v->if_object())
        if (auto *found = find(*inner, field.substr(cut + 1))) return found;
  return nullptr;
}

template <class T> bool compare(Operator op, const T &a, const T &b) {
  switch (op) {
  case Operator::eq: return a == b;
  case Operator::ne: return a != b;
  case Operator::gt: return a > b;
  case Operator::ge: return a >= b;
  case Operator::lt: return a < b;
  case Operator::le: return a <= b;
  }
  return false;
}

[[noreturn]] void wrong_value(const Clause &c, const char *wanted) {
  base::fail(ErrorCode::invalid_argument, "invalid filter: value {} of {} must be {}", base::quoted(c.value), base::quoted(c.field), wanted);
}

bool matches_text(const Clause &c, std::string_view text) {
  bool same;
  if (c.plain) {
    same = lower(text) == lower(c.value);
  } else if (c.text) {
    try {
      same = boost::regex_search(text.begin(), text.end(), *c.text);
    } catch (const std::exception &) {
      base::fail(ErrorCode::invalid_argument, "invalid filter: the expression {} takes too much work", base::quoted(c.value));
    }
  } else {
    same = lower(text) == lower(c.value);
  }
  if (c.op == Operator::eq) return same;
  if (c.op == Operator::ne) return !same;
  base::fail(ErrorCode::invalid_argument, "invalid filter: texts such as {} can be compared by eq and ne only", base::quoted(c.field));
}

bool truth(const Clause &c) {
  for (auto *yes : {"1", "t", "T", "TRUE", "true", "True"})
    if (c.value == yes) return true;
  for (auto *no : {"0", "f", "F", "FALSE", "false", "False"})
    if (c.value == no) return false;
  wrong_value(c, "true or false");
}

bool matches_list(const Clause &c, const json::array &list) {
  boost::system::error_code ec;
  auto wanted = json::parse(c.value, ec);
  auto *w = ec ? nullptr : wanted.if_array();
  if (!w) wrong_value(c, "a JSON list of texts");
  if (c.op != Operator::eq && c.op != Operator::ne) base::fail(ErrorCode::invalid_argument, "invalid filter: lists such as {} can be compared by eq and ne only", base::quoted(c.field));
  return (*w == list) == (c.op == Operator::eq);
}

bool matches_clause(const Clause &c, const json::object &record) {
  auto *v = find(record, c.field);
  if (!v) {
    // A key that a map does not have is empty; a field that the record does not have is a mistake.
    auto top = std::string_view(c.field).substr(0, c.field.find('.'));
    auto *outer = record.if_contains(json::string_view(top.data(), top.size()));
    if (!outer || top.size() == c.field.size()) base::fail(ErrorCode::invalid_argument, "invalid filter: unknown field {}", base::quoted(c.field));
    return matches_text(c, "");
  }
  if (v->is_string()) return matches_text(c, v->get_string());
  if (v->is_bool()) {
    if (c.op != Operator::eq && c.op != Operator::ne) wrong_value(c, "compared by eq or ne");
    return compare(c.op, v->get_bool(), truth(c));
  }
  if (v->is_int64() || v->is_uint64()) {
    std::int64_t n = 0;
    auto end = c.value.data() + c.value.size();
    if (auto r = std::from_chars(c.value.data(), end, n); r.ec != std::errc() || r.ptr != end) wrong_value(c, "a whole number");
    if (v->is_int64()) return compare(c.op, v->get_int64(), n);
    return n < 0 ? (c.op == Operator::ne || c.op == Operator::gt || c.op == Operator::ge) : compare(c.op, v->get_uint64(), static_cast<std::uint64_t>(n));
  }
  if (v->is_null()) return matches_text(c, "");
  if (v->is_array()) return matches_list(c, v->get_array());
  base::fail(ErrorCode::invalid_argument, "invalid filter: {} has parts of its own: name one of them", base::quoted(c.field));
}

} // namespace

struct Filter::Node {
  struct Part {
    bool or_ = false, not_ = false;
    std::optional<Clause> clause;
    std::unique_ptr<Node> group;
  };
  std::vector<Part> parts;

  bool matches(const json::object &record) const {
    bool result = true;
    for (auto &p : parts) {
      bool m = (p.clause ? matches_clause(*p.clause, record) : p.group->matches(record)) != p.not_;
      result = p.or_ ? result || m : result && m;
    }
    return result;
  }
};

namespace {

class Parser {
public:
  explicit Parser(std::string_view text) : text_(text) {}

  std::unique_ptr<Filter::Node> all() {
    auto n = group(0);
    skip();
    if (at_ < text_.size()) wrong("a bracket is closed that was not opened");
    return n;
  }

private:
  [[noreturn]] void wrong(const char *what) const {
    base::fail(ErrorCode::invalid_argument, "invalid filter {}: {} (at character {})", base::quoted(text_), what, at_ + 1);
  }
  void skip() {
    while (at_ < text_.size() && blank(text_[at_])) at_++;
  }
  bool at_end(int depth) {
    skip();
    return at_ == text_.size() || (depth > 0 && text_[at_] == ')');
  }
  std::string word() {
    skip();
    auto from = at_;
    while (at_ < text_.size() && !blank(text_[at_])) at_++;
    return std::string(text_.substr(from, at_ - from));
  }

  std::string value(int depth) {
    skip();
    if (at_ < text_.size() && text_[at_] == '"') {
      std::string out;
      for (at_++; at_ < text_.size(); at_++) {
        // A quote inside a word belongs to the value.
        if (text_[at_] == '"' && (at_ + 1 == text_.size() || blank(text_[at_ + 1]) || text_[at_ + 1] == ')')) {
          at_++;
          return out;
        }
        out += text_[at_];
      }
      wrong("a quote is not closed");
    }
    auto out = word();
    if (depth == 0) return out;
    // Brackets that close groups may touch the value; balanced ones are part of an expression.
    long open = std::count(out.begin(), out.end(), '(') - std::count(out.begin(), out.end(), ')');
    while (open < 0 && out.ends_with(')')) {
      out.pop_back();
      at_--;
      open++;
    }
    if (out.empty()) wrong("a value is missing");
    return out;
  }

  Clause clause(int depth) {
    Clause c;
    c.field = word();
    if (at_end(0)) wrong("an operator (eq, ne, gt, ge, lt, le) is missing");
    auto op = operator_of(word());
    if (!op) wrong("unknown operator: must be eq, ne, gt, ge, lt or le");
    c.op = *op;
    if (at_end(0)) wrong("a value is missing");
    c.value = value(depth);
    c.plain = c.value.find_first_of(R"(\^$.|?*+()[]{})") == std::string::npos;
    if (!c.plain) {
      bool anchored = c.value.find_first_of("^$") != std::string::npos;
      try {
        c.text.emplace(anchored ? c.value : "^" + c.value + "$", boost::regex::perl | boost::regex::icase | boost::regex::no_mod_m);
      } catch (const std::exception &) {
        // Then it is compared as it stands.
      }
    }
    return c;
  }

  std::unique_ptr<Filter::Node> group(int depth) {
    if (depth > max_depth) wrong("too many brackets");
    auto n = std::make_unique<Filter::Node>();
    bool or_ = false;
    while (!at_end(depth)) {
      Filter::Node::Part p;
      p.or_ = or_;
      auto before = at_;
      if (lower(word()) == "not") {
        p.not_ = true;
#ifndef INCUS_PLANTED_BUG // the fuzzer must notice when this line is missing
        if (at_end(depth)) wrong("a clause is missing after not");
#endif
      } else {
        at_ = before;
      }
      skip();
      if (text_[at_] == '(') {
        at_++;
        p.group = group(depth + 1);
        skip();
        if (at_ == text_.size()) wrong("a bracket is not closed");
        at_++;
        if (p.group->parts.empty()) wrong("brackets with nothing in them");
      } else {
        p.clause = clause(depth);
      }
      n->parts.push_back(std::move(p));
      if (at_end(depth)) break;
      auto joint = lower(word());
      if (joint != "and" && joint != "or") wrong("clauses must be joined by and or or");
      or_ = joint == "or";
      if (at_end(depth)) wrong("a clause is missing at the end");
    }
    return n;
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

} // namespace

Filter::Filter() = default;
Filter::~Filter() = default;
Filter::Filter(Filter &&) noexcept = default;

Filter Filter::parse(std::string_view text) {
  if (text.size() > max_length) base::fail(ErrorCode::invalid_argument, "invalid filter: longer than {} characters", max_length);
  Filter f;
  f.root_ = Parser(text).all();
  return f;
}

bool Filter::matches(const json::object &record) const { return root_->matches(record); }

} // namespace incus::api
