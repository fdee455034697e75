// SPDX-License-Identifier: Apache-2.0
#include "remote/multipart.hpp"

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/error.hpp"

namespace incus::remote {

namespace {

constexpr std::size_t step = 256 * 1024, line_limit = 8192;

[[noreturn]] void corrupt(const char *why) { base::fail(ErrorCode::corrupt, "the server's multipart answer is damaged: {}", why); }

std::string lower(std::string t) {
  for (auto &c : t)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  return t;
}

} // namespace

std::string header_parameter(const std::string &header, const std::string &name) {
  std::size_t at = header.find(';');
  while (at != header.npos) {
    at = header.find_first_not_of("; \t", at);
    if (at == header.npos) break;
    auto eq = header.find_first_of("=;", at);
    if (eq == header.npos) break;
    if (header[eq] == ';') {
      at = eq;
      continue;
    }
    auto key = lower(header.substr(at, eq - at));
    std::string value;
    at = eq + 1;
    if (at < header.size() && header[at] == '"') {
      for (at++; at < header.size() && header[at] != '"'; at++) {
        if (header[at] == '\\' && at + 1 < header.size()) at++;
        value += header[at];
      }
      at = header.find(';', at);
    } else {
      auto end = header.find(';', at);
      value = header.substr(at, end == header.npos ? end : end - at);
      while (!value.empty() && (value.back() == ' ' || value.back() == '\t')) value.pop_back();
      at = end;
    }
    if (key == name) return value;
  }
  return {};
}

std::string multipart_boundary(const std::string &type) {
  if (!lower(type.substr(0, 10)).starts_with("multipart/")) return {};
  auto b = header_parameter(type, "boundary");
  return b.size() <= 70 && b.find_first_of("\r\n\0") == b.npos ? b : std::string();
}

std::string harmless_name(const std::string &name) {
  auto base = name.substr(name.find_last_of("/\\") + 1);
  std::string out;
  for (unsigned char c : base)
    if (c >= 32 && c != 127) out += static_cast<char>(c);
  if (out.size() > 255) out.resize(255);
  return out == "." || out == ".." ? std::string() : out;
}

Multipart::Multipart(Read read, const std::string &boundary) : read_(std::move(read)), delimiter_("\r\n--" + boundary) {
  if (boundary.empty()) corrupt("it names no boundary");
  buffer_ = "\r\n"; // so that the first delimiter is like the others
}

bool Multipart::fill() {
  if (at_ > step) {
    buffer_.erase(0, at_);
    at_ = 0;
  }
  auto old = buffer_.size();
  buffer_.resize(old + step);
  auto n = read_(buffer_.data() + old, step);
  buffer_.resize(old + n);
  return n > 0;
}

std::string Multipart::take_line() {
  for (std::size_t from = at_;;) {
    auto end = buffer_.find("\r\n", from);
    if (end != buffer_.npos) {
      auto line = buffer_.substr(at_, end - at_);
      at_ = end + 2;
      return line;
    }
    if (have() > line_limit) corrupt("a line of a part's head is too long");
    if (!fill()) corrupt("it ends inside the head of a part");
    from = at_; // fill() may have moved it
  }
}

bool Multipart::next() {
  if (last_) return false;
  std::vector<char> rest(64 * 1024);
  if (!begun_) {
    begun_ = true;
    in_part_ = true; // what stands before the first delimiter is passed over
  }
  while (in_part_ && read(rest.data(), rest.size())) {
  }
  if (last_) return false;
  name_.clear();
  file_name_.clear();
  for (int lines = 0;; lines++) {
    if (lines > 64) corrupt("a part's head has too many lines");
    auto line = take_line();
    if (line.empty()) break;
    auto colon = line.find(':');
    if (colon != line.npos && lower(line.substr(0, colon)) == "content-disposition") {
      name_ = header_parameter(line, "name");
      file_name_ = header_parameter(line, "filename");
    }
  }
  in_part_ = true;
  return true;
}

std::size_t Multipart::read(char *to, std::size_t size) {
  if (!in_part_) return 0;
  for (;;) {
    auto found = buffer_.find(delimiter_, at_);
    // What could be the begin of a delimiter stays.
    std::size_t safe = found != buffer_.npos ? found - at_ : have() >= delimiter_.size() ? have() - delimiter_.size() + 1 : 0;
    if (safe > 0) {
      auto n = std::min(size, safe);
      std::memcpy(to, buffer_.data() + at_, n);
      skip(n);
      return n;
    }
    if (found != buffer_.npos) {
      skip(delimiter_.size());
      while (have() < 2)
        if (!fill()) corrupt("it ends inside a delimiter");
      in_part_ = false;
      if (buffer_.compare(at_, 2, "--") == 0)
        last_ = true;
      else
        take_line();
      return 0;
    }
    if (!fill()) corrupt("it ends inside a part");
  }
}

} // namespace incus::remote
