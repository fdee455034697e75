// SPDX-License-Identifier: Apache-2.0
// A multipart/form-data body taken apart as it comes, however it is cut into pieces.
#pragma once
#include <functional>
#include <map>
#include <string>
#include <string_view>

namespace incus::rest {

class Multipart {
public:
  struct Part {
    std::string name, filename;
    std::map<std::string, std::string> headers; ///< names in lower case
  };
  struct Handlers {
    std::function<void(const Part &)> begin;
    std::function<void(std::string_view)> data;
    std::function<void()> end;
  };
  /// The boundary of a Content-Type; empty when it is not multipart/form-data.
  static std::string boundary(const std::string &content_type);

  Multipart(const std::string &boundary, Handlers handlers);
  /// Throws invalid_argument when the body is not well-formed.
  void feed(std::string_view piece);
  /// Throws invalid_argument unless the closing boundary was seen.
  void finish() const;

private:
  enum class At { preamble, after_boundary, headers, body, epilogue };
  void header_line(std::string_view line);
  const std::string delimiter_; ///< with the line end before it
  Handlers handlers_;
  At at_ = At::preamble;
  std::string kept_;
  std::size_t header_bytes_ = 0;
  int parts_ = 0;
  Part part_;
};

} // namespace incus::rest
