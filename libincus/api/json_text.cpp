// SPDX-License-Identifier: Apache-2.0
#include "api/json_text.hpp"

#include "api/records.hpp"

namespace incus::api {

namespace {

void write(std::string &out, std::string_view text) {
  constexpr auto plain = [](char c) { return static_cast<unsigned char>(c) >= 0x20 && c != '"' && c != '\\'; };
  if (!std::all_of(text.begin(), text.end(), plain)) {
    out += json::serialize(json::string_view(text.data(), text.size()));
    return;
  }
  out += '"';
  out += text;
  out += '"';
}

/// Opens, separates and closes the members of an object or list.
class Members {
public:
  Members(std::string &out, char open, char close) : out_(out), close_(close) { out_ += open; }
  ~Members() { out_ += close_; }
  Members(const Members &) = delete;
  Members &operator=(const Members &) = delete;
  void next() {
    if (!std::exchange(first_, false)) out_ += ',';
  }
  void next(std::string_view key) {
    next();
    write(out_, key);
    out_ += ':';
  }

private:
  std::string &out_;
  char close_;
  bool first_ = true;
};

template <class T> void write_value(std::string &out, const T &v);

template <class T> void write_field(Members &o, std::string &out, const char *name, const T &v) {
  o.next(name);
  write_value(out, v);
}

/// The members of a record; `instead` may write a field in its own way and say so.
template <class T, class F> void write_fields(Members &o, std::string &out, const T &v, F instead) {
  std::apply(
      [&](const auto &...f) {
        (
            [&](const auto &one) {
              const auto &m = v.*(one.member);
              if (one.omit_empty && is_empty(m)) return;
              if (!instead(std::string_view(one.name))) write_field(o, out, one.name, m);
            }(f),
            ...);
      },
      Record<T>::fields);
}

template <class T> void write_value(std::string &out, const T &v) {
  if constexpr (std::is_same_v<T, bool>) {
    out += v ? "true" : "false";
  } else if constexpr (std::is_integral_v<T>) {
    fmt::format_to(std::back_inserter(out), "{}", v);
  } else if constexpr (std::is_same_v<T, std::string>) {
    write(out, v);
  } else if constexpr (is_vector<T>::value) {
    Members a(out, '[', ']');
    for (auto &e : v) {
      a.next();
      write_value(out, e);
    }
  } else if constexpr (is_map<T>::value) {
    Members o(out, '{', '}');
    for (auto &[k, e] : v) write_field(o, out, k.c_str(), e);
  } else if constexpr (IsRecord<T>) {
    Members o(out, '{', '}');
    write_fields(o, out, v, [](std::string_view) { return false; });
  } else {
    out += json::serialize(to_json(v)); // what is rare here
  }
}

void write_instance(Members &o, std::string &out, const InstanceInfo &i) {
  write_fields(o, out, i, [&](std::string_view name) {
    if (name != "last_used_at" || i.last_used_at != Time{}) return false;
    o.next(name);
    write(out, never_used);
    return true;
  });
}

void write_element(std::string &out, const InstanceInfo &i) {
  Members o(out, '{', '}');
  write_instance(o, out, i);
}

void write_element(std::string &out, const InstanceFull &full) {
  Members o(out, '{', '}');
  write_instance(o, out, full.info);
  o.next("backups");
  out += "null";
  o.next("state");
  if (full.state) {
    Members s(out, '{', '}');
    write_fields(s, out, *full.state, [&](std::string_view name) {
      if (name != "network" || !full.state->network.empty()) return false;
      s.next(name);
      out += "null";
      return true;
    });
    s.next("os_info");
    out += "null";
  } else {
    out += "null";
  }
  o.next("snapshots");
  if (full.snapshots.empty())
    out += "null";
  else
    write_value(out, full.snapshots);
}

template <class T> std::string text_of(const std::vector<T> &list) {
  std::string out;
  {
    Members a(out, '[', ']');
    for (auto &e : list) {
      a.next();
      write_element(out, e);
    }
  }
  return out;
}

} // namespace

std::string list_text(const std::any &record) {
  if (auto *list = std::any_cast<std::vector<InstanceInfo>>(&record)) return text_of(*list);
  if (auto *list = std::any_cast<std::vector<InstanceFull>>(&record)) return text_of(*list);
  base::fail(ErrorCode::internal, "a record of type {} has no text", record.type().name());
}

} // namespace incus::api
