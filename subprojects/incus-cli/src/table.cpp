// SPDX-License-Identifier: Apache-2.0
#include "output.hpp"

namespace cli {

namespace {

/// Columns a text takes on a terminal; wide characters take two.
std::size_t width_of(std::string_view t) {
  std::size_t n = 0;
  for (std::size_t i = 0; i < t.size();) {
    auto c = static_cast<unsigned char>(t[i]);
    std::size_t bytes = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
    char32_t code = bytes == 1 ? c : c & (0xff >> (bytes + 1));
    for (std::size_t k = 1; k < bytes && i + k < t.size(); k++) code = (code << 6) | (static_cast<unsigned char>(t[i + k]) & 0x3f);
    bool wide = (code >= 0x1100 && code <= 0x115f) || (code >= 0x2e80 && code <= 0xa4cf) || (code >= 0xac00 && code <= 0xd7a3) ||
                (code >= 0xf900 && code <= 0xfaff) || (code >= 0xfe30 && code <= 0xfe6f) || (code >= 0xff00 && code <= 0xff60) ||
                (code >= 0xffe0 && code <= 0xffe6) || (code >= 0x1f300 && code <= 0x1f64f) || (code >= 0x20000 && code <= 0x3fffd);
    n += wide ? 2 : 1;
    i += bytes;
  }
  return n;
}

std::string title(std::string text) {
  for (std::size_t i = 0; i < text.size(); i++) {
    auto number = [&](std::size_t k) { return isdigit(static_cast<unsigned char>(text[k])) || text[k] == ' '; };
    if (text[i] == '_') text[i] = ' ';
    if (text[i] == '.' && ((i != 0 && !number(i - 1)) || (i + 1 < text.size() && !number(i + 1)))) text[i] = ' ';
  }
  return upper(text);
}

std::string filled(const std::string &t, std::size_t width, bool centred) {
  auto have = width_of(t);
  auto gap = width > have ? width - have : 0;
  auto left = centred ? gap / 2 : 0;
  return std::string(left, ' ') + t + std::string(gap - left, ' ');
}

} // namespace

std::string draw_table(Strings header, const Rows &rows, bool compact) {
  std::size_t columns = header.size();
  for (auto &r : rows) columns = std::max(columns, r.size());
  std::vector<std::size_t> widths(columns, 0);
  for (auto &h : header) h = title(h);
  for (std::size_t i = 0; i < header.size(); i++) widths[i] = width_of(header[i]);
  for (auto &r : rows)
    for (std::size_t i = 0; i < r.size(); i++)
      for (auto &l : split_text(r[i], '\n')) widths[i] = std::max(widths[i], width_of(l));
  std::string rule;
  if (!compact) {
    for (auto w : widths) rule += "+" + std::string(w + 2, '-');
    rule += "+\n";
  }
  std::string out = rule;
  auto line = [&](const Strings &cells, bool centred) {
    for (std::size_t i = 0; i < columns; i++)
      out += (compact ? "  " : i ? " | " : "| ") + filled(i < cells.size() ? cells[i] : "", widths[i], centred);
    out += compact ? "  \n" : " |\n";
  };
  if (!header.empty()) {
    line(header, true);
    out += rule;
  }
  for (auto &r : rows) {
    std::vector<Strings> cells;
    std::size_t height = 1;
    for (auto &c : r) {
      cells.push_back(split_text(c, '\n'));
      height = std::max(height, cells.back().size());
    }
    for (std::size_t y = 0; y < height; y++) {
      Strings one;
      for (auto &c : cells) one.push_back(y < c.size() ? c[y] : "  "); // two: as wide as the official client makes it
      line(one, false);
    }
    out += rule;
  }
  if (rows.empty() && header.empty()) return rule;
  return out;
}

std::string csv_text(const Rows &rows) {
  std::string out;
  for (auto &r : rows) {
    for (std::size_t i = 0; i < r.size(); i++) {
      if (i) out += ',';
      auto &f = r[i];
      bool quote = !f.empty() && (f.find_first_of(",\"\r\n") != std::string::npos || f[0] == ' ' || f[0] == '\t' || f == "\\.");
      if (!quote) {
        out += f;
        continue;
      }
      out += '"';
      for (char c : f) {
        if (c == '"') out += '"';
        out += c;
      }
      out += '"';
    }
    out += '\n';
  }
  return out;
}

bool natural_less(std::string_view a, std::string_view b) {
  std::size_t i = 0, j = 0;
  auto digit = [](char c) { return c >= '0' && c <= '9'; };
  while (i < a.size() && j < b.size()) {
    if (digit(a[i]) != digit(b[j])) return digit(a[i]);
    if (!digit(a[i])) {
      if (a[i] != b[j]) return static_cast<unsigned char>(a[i]) < static_cast<unsigned char>(b[j]);
      i++, j++;
      continue;
    }
    while (i < a.size() && a[i] == '0') i++;
    while (j < b.size() && b[j] == '0') j++;
    auto na = i, nb = j;
    while (i < a.size() && digit(a[i])) i++;
    while (j < b.size() && digit(b[j])) j++;
    if (i - na != j - nb) return i - na < j - nb;
    auto x = a.substr(na, i - na), y = b.substr(nb, j - nb);
    if (x != y) return x < y;
    if (na != nb) return na < nb;
  }
  return a.size() < b.size();
}

void sort_rows(Rows &rows) {
  std::stable_sort(rows.begin(), rows.end(), [](const Strings &a, const Strings &b) {
    for (std::size_t k = 0; k < a.size() && k < b.size(); k++) {
      if (a[k] == b[k]) continue;
      if (a[k].empty()) return false;
      if (b[k].empty()) return true;
      return natural_less(a[k], b[k]);
    }
    return false;
  });
}

void check_format(const std::string &format) {
  auto words = split_text(format, ',');
  for (std::size_t i = 1; i < words.size(); i++)
    if (words[i] != "noheader" && words[i] != "header" && !words[i].empty())
      fail("Invalid modifier \"{}\" on flag \"--format\" (\"{}\")", words[i], format);
  for (auto *known : {"csv", "json", "table", "yaml", "compact"})
    if (words[0] == known) return;
  fail("Invalid value \"{}\" for flag \"--format\"", words[0]);
}

void show_table(const std::string &format, Strings header, const Rows &rows, const json::value &raw, std::string_view type) {
  check_format(format);
  auto words = split_text(format, ',');
  auto has = [&](const char *option) { return std::find(words.begin() + 1, words.end(), option) != words.end(); };
  if (has("noheader")) header.clear();
  if (words[0] == "csv") {
    if (has("header")) print(csv_text({header}));
    print(csv_text(rows));
  } else if (words[0] == "json") {
    print(to_json(shaped(raw, type), type) + "\n");
  } else if (words[0] == "yaml") {
    print(to_yaml(shaped(raw, type), type));
  } else {
    print(draw_table(std::move(header), rows, words[0] == "compact"));
  }
}

} // namespace cli
