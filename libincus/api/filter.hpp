// SPDX-License-Identifier: Apache-2.0
// The filter language of lists: `status eq running and (config.user.x eq y or not type eq container)`.
#pragma once
#include <boost/json/object.hpp>
#include <memory>
#include <string>
#include <string_view>

namespace incus::api {

/// A parsed filter. Clauses are `[not] field operator value` with the operators eq, ne, gt, ge, lt and le, put together by `and` and `or` from left to
/// right, as Incus does; brackets group. A value with blanks stands in quotes. Texts are compared as regular expressions over the whole text, without
/// regard to case.
class Filter {
public:
  /// Throws invalid_argument that says where it is wrong.
  static Filter parse(std::string_view text);
  ~Filter();
  Filter(Filter &&) noexcept;
  /// Throws invalid_argument when a value does not fit its field's type.
  bool matches(const boost::json::object &record) const;
  struct Node;

private:
  Filter();
  std::unique_ptr<Node> root_;
};

} // namespace incus::api
