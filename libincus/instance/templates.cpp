// SPDX-License-Identifier: Apache-2.0
// Files that an instance has from the templates of its image: written into its root before it starts, by the file helper, for which nothing leads out of
// that root. They wait for a start because only then name, configuration and owners are settled.
#include <algorithm>
#include <fcntl.h>

#include "base/error.hpp"
#include "base/names.hpp"
#include "helper/files/verbs.hpp"
#include "image/template.hpp"
#include "instance/keys.hpp"
#include "instance/manager.hpp"
#include "schema/schema.hpp"
#include "sys/fs.hpp"
#include "sys/process.hpp"

namespace incus::instance {

namespace json = boost::json;

namespace {

constexpr std::size_t max_template = 1 << 20, most_templates = 200;

std::string content(int fd) {
  std::string out;
  for (char buf[16384];;) {
    auto n = ::read(fd, buf, sizeof buf);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) base::fail_errno(errno, "cannot be read");
    if (n == 0) return out;
    out.append(buf, static_cast<std::size_t>(n));
    if (out.size() > max_template) base::fail(ErrorCode::too_large, "is larger than {} bytes", max_template);
  }
}

json::object object_of(const Config &c) {
  json::object out;
  for (auto &[k, v] : c) out[k] = v;
  return out;
}

image::TemplateContext context_of(const db::InstanceRow &row, const Expanded &e) {
  image::TemplateContext c;
  auto yes_or_no = [](bool b) { return b ? "true" : "false"; };
  json::object self{{"name", row.name},
                    {"type", "container"},
                    {"architecture", row.architecture},
                    {"privileged", yes_or_no(schema::truthy(schema::value(instance_keys(), e.config, "security.privileged")))},
                    {"ephemeral", yes_or_no(row.ephemeral)}};
  c.values["container"] = self;
  c.values["instance"] = std::move(self);
  c.values["config"] = object_of(e.config);
  json::object devices;
  for (auto &[name, device] : e.devices) devices[name] = object_of(device);
  c.values["devices"] = std::move(devices);
  auto config = std::make_shared<Config>(e.config);
  c.functions["config_get"] = [config](const std::vector<json::value> &a) -> json::value {
    if (a.empty() || a.size() > 2 || !a[0].is_string()) base::fail(ErrorCode::invalid_argument, "config_get wants a key and what it is when that is not set");
    auto i = config->find(std::string(a[0].get_string()));
    if (i == config->end()) return a.size() > 1 ? a[1] : json::value();
    auto v = i->second;
    while (!v.empty() && (v.back() == '\n' || v.back() == '\r')) v.pop_back();
    return json::value(v);
  };
  return c;
}

} // namespace

/// 0, or the errno of the file helper.
int Manager::ask_files(const db::InstanceRow &row, std::vector<std::string> args, int fd, bool write) {
  auto [ours, theirs] = sys::seqpacket_pair();
  helper::Message m, r;
  m.op = static_cast<std::uint32_t>(write ? files::Op::write : files::Op::read);
  m.args = std::move(args);
  m.fds = {theirs.get()};
  if (fd >= 0) m.fds.push_back(fd);
  files_.send(row.id, row.name, [&] { return files_place(row.id, row.name); }, m);
  theirs.reset();
  if (helper::receive_message(ours.get(), r) != 0) base::fail(ErrorCode::unavailable, "the file helper ended");
  for (int extra : r.fds) ::close(extra);
  if (static_cast<files::Answer>(r.op) == files::Answer::ok) return 0;
  int err = r.args.empty() ? 0 : std::atoi(r.args[0].c_str());
  return err ? err : EIO;
}

void Manager::write_rendered(const db::InstanceRow &row, const std::string &target, const image::Template &t, const std::string &text) {
  auto number = [](const std::string &given, int base, const char *otherwise) { return given.empty() ? otherwise : std::to_string(std::stoul(given, nullptr, base)); };
  std::vector<std::string> how{target, "file", number(t.uid, 10, "0"), number(t.gid, 10, "0"), number(t.mode, 8, "420"), "", "", std::to_string(text.size())};
  auto fd = sys::memory_file("template", text);
  int e = ask_files(row, how, fd.get(), true);
  if (e == ENOENT) {
    for (auto at = target.find('/', 1); at != target.npos; at = target.find('/', at + 1))
      if (int failed = ask_files(row, {target.substr(0, at), "directory", "0", "0", "493", "", "", ""}, -1, true))
        base::fail_errno(failed, fmt::format("cannot make directory {}", base::quoted(target.substr(0, at))));
    ::lseek(fd.get(), 0, SEEK_SET);
    e = ask_files(row, how, fd.get(), true);
  }
  if (e) base::fail_errno(e, "cannot be written");
}

void Manager::apply_templates(const db::InstanceRow &row, const Expanded &e) {
  if (ctx_.directory.empty()) return;
  auto volume = open_volume(row.project, row.name);
  auto yaml = sys::read_file_if_exists(volume.get(), "metadata.yaml");
  // To parse it is half a millisecond of a start.
  if (!yaml || yaml->find("templates") == yaml->npos) return;
  auto meta = image::parse_metadata(*yaml);
  if (meta.templates.size() > most_templates)
    base::fail(ErrorCode::too_large, "cannot start instance {}: its metadata.yaml has more than {} templates", base::quoted(row.name), most_templates);
  std::vector<std::string> triggers{"start"};
  if (auto first = row.config.find("volatile.apply_template"); first != row.config.end()) triggers.insert(triggers.begin(), first->second);
  std::optional<image::TemplateContext> context;
  for (auto &trigger : triggers)
    for (auto &[target, t] : meta.templates) {
      if (std::find(t.when.begin(), t.when.end(), trigger) == t.when.end()) continue;
      try {
        if (t.create_only) {
          int there = ask_files(row, {target, ""}, -1, false);
          if (there == 0) continue;
          if (there != ENOENT) base::fail_errno(there, "cannot be looked for");
        }
        if (!context) context = context_of(row, e);
        context->values["trigger"] = trigger;
        context->values["path"] = target;
        context->values["properties"] = object_of(t.properties);
        write_rendered(row, target, t, image::render_template(content(open_template(row.project, row.name, t.source).get()), *context));
      } catch (const Error &err) {
        throw Error(err.code(), fmt::format("cannot start instance {}: file {} from template {}", base::quoted(row.name), base::quoted(target), base::quoted(t.source)), err);
      }
    }
}

} // namespace incus::instance
