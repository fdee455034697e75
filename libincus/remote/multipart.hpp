// SPDX-License-Identifier: Apache-2.0
// Reads multipart answers as they come; nothing of them is kept.
#pragma once
#include <functional>
#include <string>

namespace incus::remote {

/// The boundary in a Content-Type header; empty when that is not multipart.
std::string multipart_boundary(const std::string &content_type);
/// A parameter of a header such as Content-Disposition, without its quotes; empty when it is not there.
std::string header_parameter(const std::string &header, const std::string &name);
/// A file name from the server for people to read: no path in it, no control characters; empty when nothing is left.
std::string harmless_name(const std::string &name);

class Multipart {
public:
  using Read = std::function<std::size_t(char *, std::size_t)>;
  Multipart(Read read, const std::string &boundary);
  /// Goes to the next part (over what is left of this one); false after the last. Throws `corrupt`.
  bool next();
  const std::string &name() const { return name_; }
  const std::string &file_name() const { return file_name_; }
  /// Bytes of this part; 0 at its end.
  std::size_t read(char *to, std::size_t size);

private:
  bool fill();
  void skip(std::size_t n) { at_ += n; }
  std::size_t have() const { return buffer_.size() - at_; }
  std::string take_line();

  Read read_;
  std::string delimiter_; ///< "\r\n--boundary"
  std::string buffer_, name_, file_name_;
  std::size_t at_ = 0;
  bool in_part_ = false, last_ = false, begun_ = false;
};

} // namespace incus::remote
