// SPDX-License-Identifier: Apache-2.0
#include "rest/multipart.hpp"

#include "base/error.hpp"
#include "base/names.hpp"

namespace incus::rest {

namespace {
constexpr std::size_t most_header = 16384;
constexpr int most_parts = 16;

std::string lower(std::string_view t) {
  std::string out(t);
  for (auto &c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  return out;
}

std::string_view trim(std::string_view t) {
  while (!t.empty() && (t.front() == ' ' || t.front() == '\t')) t.remove_prefix(1);
  while (!t.empty() && (t.back() == ' ' || t.back() == '\t')) t.remove_suffix(1);
  return t;
}

/// `name="value"` of a header such as Content-Disposition; quotes and backslashes resolved.
std::string parameter(std::string_view header, std::string_view wanted) {
  auto at = header.find(';');
  while (at != std::string_view::npos) {
    header.remove_prefix(at + 1);
    auto eq = header.find('=');
    if (eq == std::string_view::npos) return {};
    auto name = lower(trim(header.substr(0, eq)));
    header.remove_prefix(eq + 1);
    header = trim(header);
    std::string value;
    if (header.starts_with('"')) {
      std::size_t i = 1;
      for (; i < header.size() && header[i] != '"'; i++) {
        if (header[i] == '\\' && i + 1 < header.size()) i++;
        value += header[i];
      }
      header.remove_prefix(std::min(i + 1, header.size()));
    } else {
      value = std::string(trim(header.substr(0, header.find(';'))));
    }
    if (name == wanted) return value;
    at = header.find(';');
  }
  return {};
}
} // namespace

std::string Multipart::boundary(const std::string &content_type) {
  if (!lower(content_type).starts_with("multipart/form-data")) return {};
  auto b = parameter(content_type, "boundary");
  if (b.empty() || b.size() > 200) base::fail(ErrorCode::invalid_argument, "invalid Content-Type {}: a boundary of 1 to 200 characters is needed", base::quoted(content_type));
  return b;
}

Multipart::Multipart(const std::string &boundary, Handlers handlers) : delimiter_("\r\n--" + boundary), handlers_(std::move(handlers)), kept_("\r\n") {}

void Multipart::header_line(std::string_view line) {
  auto colon = line.find(':');
  if (colon == std::string_view::npos) base::fail(ErrorCode::invalid_argument, "invalid multipart body: {} is no header of a part", base::quoted(line));
  auto name = lower(trim(line.substr(0, colon)));
  auto value = std::string(trim(line.substr(colon + 1)));
  if (name == "content-disposition") {
    part_.name = parameter(value, "name");
    part_.filename = parameter(value, "filename");
  }
  part_.headers[name] = std::move(value);
}

void Multipart::feed(std::string_view piece) {
  kept_ += piece;
  std::size_t at = 0;
  auto rest = [&] { return std::string_view(kept_).substr(at); };
  for (bool more = true; more;) {
    more = false;
    switch (at_) {
    case At::preamble:
    case At::body: {
      auto found = rest().find(delimiter_);
      // What may be the beginning of a delimiter waits for the next piece.
      auto may_be = std::min(rest().size(), delimiter_.size() - 1);
#ifdef INCUS_PLANTED_BUG // the fuzzer must notice when the delimiter is looked for in each piece by itself
      may_be = 0;
#endif
      auto sure = found != std::string_view::npos ? found : rest().size() - may_be;
      if (at_ == At::body && sure > 0) handlers_.data(rest().substr(0, sure));
      at += sure;
      if (found == std::string_view::npos) break;
      if (at_ == At::body) handlers_.end();
      at += delimiter_.size();
      at_ = At::after_boundary;
      more = true;
      break;
    }
    case At::after_boundary: {
      if (rest().size() < 2) break;
      if (rest().starts_with("--")) {
        at_ = At::epilogue;
        more = true;
        break;
      }
      auto end = rest().find("\r\n");
      if (end == std::string_view::npos && rest().size() > 256) base::fail(ErrorCode::invalid_argument, "invalid multipart body: no line end after a boundary");
      if (end == std::string_view::npos) break;
      if (!trim(rest().substr(0, end)).empty()) base::fail(ErrorCode::invalid_argument, "invalid multipart body: text after a boundary");
      if (++parts_ > most_parts) base::fail(ErrorCode::invalid_argument, "invalid multipart body: more than {} parts", most_parts);
      at += end + 2;
      part_ = {};
      header_bytes_ = 0;
      at_ = At::headers;
      more = true;
      break;
    }
    case At::headers: {
      auto end = rest().find("\r\n");
      if (header_bytes_ + (end == std::string_view::npos ? rest().size() : end) > most_header)
        base::fail(ErrorCode::too_large, "invalid multipart body: the headers of a part are longer than {} bytes", most_header);
      if (end == std::string_view::npos) break;
      auto line = rest().substr(0, end);
      header_bytes_ += end + 2;
      if (line.empty()) {
        at_ = At::body;
        handlers_.begin(part_);
        at += 2;
      } else {
        header_line(line);
        at += end + 2;
      }
      more = true;
      break;
    }
    case At::epilogue: at = kept_.size(); break;
    }
  }
  kept_.erase(0, at);
}

void Multipart::finish() const {
  if (at_ != At::epilogue) base::fail(ErrorCode::invalid_argument, "invalid multipart body: it ends before its closing boundary");
}

} // namespace incus::rest
