// SPDX-License-Identifier: Apache-2.0
// Tables, YAML and JSON as the official client prints them; sizes and times; the terminal.
#pragma once
#include "app.hpp"

namespace cli {

using Rows = std::vector<Strings>;

/// A table of columns, `raw` (records of `type`) for json and yaml. Formats: table, compact, csv, json, yaml, with ",noheader" and ",header".
void show_table(const std::string &format, Strings header, const Rows &rows, const json::value &raw, std::string_view type);
/// Fails as the official client does for a format that is none.
void check_format(const std::string &format);
std::string draw_table(Strings header, const Rows &rows, bool compact);
std::string csv_text(const Rows &rows);
/// Digits compare by value, empty text comes last, columns from left to right.
void sort_rows(Rows &rows);
bool natural_less(std::string_view a, std::string_view b);

/// A column of letters, as in --columns.
template <class Record> struct Column {
  char letter;
  std::string_view title;
  std::string (*value)(const Record &);
};
/// The columns that "abc,d" asks for.
template <class Record> std::vector<Column<Record>> pick_columns(const std::vector<Column<Record>> &known, const std::string &wanted) {
  std::vector<Column<Record>> out;
  std::size_t begin = 0;
  for (;;) {
    auto comma = wanted.find(',', begin);
    auto word = wanted.substr(begin, comma == std::string::npos ? comma : comma - begin);
    if (word.empty()) fail("Empty column entry (redundant, leading or trailing command) in '{}'", wanted);
    for (char c : word) {
      bool found = false;
      for (auto &k : known)
        if (k.letter == c) {
          out.push_back(k);
          found = true;
        }
      if (!found) fail("Unknown column shorthand char '{}' in '{}'", c, word);
    }
    if (comma == std::string::npos) return out;
    begin = comma + 1;
  }
}
template <class Record, class Records>
void show_columns(const std::string &format, const std::vector<Column<Record>> &columns, const Records &records, const json::value &raw,
                  std::string_view type, bool sorted = true) {
  Strings header;
  Rows rows;
  for (auto &c : columns) header.emplace_back(c.title);
  for (auto &r : records) {
    Strings row;
    for (auto &c : columns) row.push_back(c.value(r));
    rows.push_back(std::move(row));
  }
  if (sorted) sort_rows(rows);
  show_table(format, std::move(header), rows, raw, type);
}

// Records. `type` names a record of the API ("Instance", "[Image"): its fields are printed in the official order and completed.
json::value shaped(const json::value &value, std::string_view type);
std::string to_json(const json::value &value, std::string_view type = "a");
std::string to_yaml(const json::value &value, std::string_view type = "a");
json::value from_yaml(const std::string &text, std::string_view type = "a");
json::value parse_json(const std::string &text, std::string_view what);
/// JSON as the official `query` prints it, indented by a tab.
std::string pretty_json(const json::value &value, bool sorted = true);
/// The fields of a record, of its type.
std::string_view shape_of(std::string_view type);

std::string size_iec(std::int64_t bytes, int digits = 2);
std::string size_si(std::int64_t bytes, int digits = 2);
/// "12GiB" in bytes; -1 when it is none.
std::int64_t parse_size(const std::string &text);
/// RFC 3339 to "2026/11/22 17:00 UTC" in local time; empty for the zero time.
std::string show_time(const std::string &rfc3339, const char *layout = "%Y/%m/%d %H:%M %Z");
bool zero_time(const std::string &rfc3339);
std::int64_t unix_time(const std::string &rfc3339);
/// "2H 30M" from now, "5d": a time as RFC 3339.
std::string expiry_from_now(const std::string &text);
std::string upper(std::string text);
std::string lower(std::string text);
std::string join(const Strings &parts, std::string_view between);
Strings split_text(std::string_view text, char at, int most = -1);
bool parse_bool(const std::string &text);

// Terminal.
bool is_terminal(int fd);
/// Columns and lines; 0 when it is none.
std::pair<int, int> terminal_size(int fd);
std::string ask(const std::string &question, const std::string &initial);
bool ask_yes(const std::string &question, bool initial);
std::string ask_hidden(const std::string &question);
/// Raw mode of stdin until destroyed; put back also when a signal ends the program.
class RawMode {
public:
  RawMode();
  ~RawMode();
  RawMode(const RawMode &) = delete;

private:
  bool on_ = false;
};
/// Opens an editor on the text; what was saved.
std::string edit_text(const std::string &text, const std::string &suffix = ".yaml");
/// The usual `edit`: standard input when it is no terminal, else an editor on `text` until `apply` takes it.
void edit_loop(const std::string &text, const std::function<void(const std::string &)> &apply);

/// A line that is rewritten: "Importing: 45% (12.3MB/s, 3s left)".
class Progress {
public:
  Progress(const Context &context, std::string format);
  ~Progress();
  void show(const std::string &status);
  /// Bytes moved of `total` (-1: not known).
  void bytes(std::int64_t moved, std::int64_t total);
  void done(const std::string &text = {});

private:
  std::string format_;
  bool quiet_, tty_, ended_ = false;
  std::size_t longest_ = 0;
  std::chrono::steady_clock::time_point begin_, last_;
};

/// Copies one descriptor to another to its end, with progress.
void copy_stream(int from, int to, Progress *progress, std::int64_t total);

} // namespace cli
