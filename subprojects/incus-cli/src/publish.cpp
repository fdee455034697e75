// SPDX-License-Identifier: Apache-2.0
#include "image.hpp"
#include "object.hpp"

namespace cli {

namespace {

void change_state(Server &s, const std::string &name, const char *action, bool force) {
  json::object body{{"action", action}, {"timeout", -1}, {"force", force}};
  s.finish("PUT", url({"instances", name, "state"}), body);
}

int run(Context &c) {
  auto from = c.target(c.args[0]);
  bool to_given = c.args.size() >= 2 && c.args[1].find('=') == std::string::npos;
  auto to = c.target(to_given ? c.args[1] : "");
  if (from.name.empty()) fail("Instance name is mandatory");
  if (!to.name.empty()) fail("There is no \"image name\".  Did you want an alias?");
  bool elsewhere = to_given && from.remote != to.remote;
  bool snapshot = from.name.find('/') != std::string::npos;
  json::object body, properties;
  for (std::size_t i = to_given ? 2 : 1; i < c.args.size(); i++) {
    auto [k, v] = key_value(c.args[i]);
    properties[k] = v;
  }
  auto aliases = c.list("alias");
  auto &s = *from.server;
  auto &t = elsewhere ? *to.server : s;
  auto taken = existing_aliases(t, aliases);
  if (!c.flag("reuse") && !taken.empty()) fail("Aliases already exists: {}", join(taken, ", "));
  bool restart = false, ephemeral = false;
  if (!snapshot) {
    auto now = s.get(url({"instances", from.name}));
    restart = str(now, "status") != "Stopped";
    if (restart && !c.flag("force")) fail("The instance is currently running. Use --force to have it stopped and restarted");
    ephemeral = truth(now, "ephemeral");
    Object o{&s, url({"instances", from.name}), "Instance", "InstancePut", from.name};
    auto keep = [&](bool yes) { change_object(o, [&](json::value &put, const json::value &) { put.as_object()["ephemeral"] = yes; }); };
    if (restart) {
      // A stop must not remove what is to be published.
      if (ephemeral) keep(false);
      change_state(s, from.name, "stop", true);
      if (ephemeral) keep(true);
    }
  }
  body["source"] = {{"type", snapshot ? "snapshot" : "instance"}, {"name", from.name}};
  if (!properties.empty()) body["properties"] = properties;
  if (auto a = c.text("compression"); !a.empty()) body["compression_algorithm"] = a;
  if (auto e = c.text("expire"); !e.empty()) {
    if (unix_time(e) == 0) fail("Invalid expiration date: {}", e);
    body["expires_at"] = e;
  }
  body["public"] = c.flag("public");
  std::string fingerprint;
  auto start_again = [&] {
    if (restart) change_state(s, from.name, "start", false);
  };
  try {
    auto op = s.start("POST", url({"images"}), body);
    if (op) fingerprint = str(metadata_of(wait_for(c, *op, "Publishing instance: {}")), "fingerprint");
  } catch (...) {
    start_again();
    throw;
  }
  start_again();
  if (elsewhere) {
    // Made here, and then it moves.
    auto away = [&] { s.finish("DELETE", url({"images", fingerprint})); };
    try {
      copy_image(c, from.remote, to.remote, fingerprint, "pull", {{"public", c.flag("public")}});
    } catch (...) {
      away();
      throw;
    }
    away();
  }
  if (c.flag("reuse")) delete_images_of(t, aliases, fingerprint);
  ensure_aliases(t, aliases, fingerprint);
  say("Instance published with fingerprint: {}\n", fingerprint);
  return 0;
}

} // namespace

Command publish_command() {
  Command c;
  c.names = "publish";
  c.usage = "[<remote>:]<instance>[/<snapshot>] [<remote>:] [flags] [key=value...]";
  c.brief = "Publish instances as images";
  c.least = 1;
  c.most = -1;
  c.run = run;
  c.flags = {{Flag::toggle, "public", 0, "", "Make the image public"},
             {Flag::list, "alias", 0, "", "New alias to define at target"},
             {Flag::toggle, "force", 'f', "", "Stop the instance if currently running"},
             {Flag::text, "compression", 0, "", "Compression algorithm to use (none for uncompressed)"},
             {Flag::text, "expire", 0, "", "Image expiration date (format: rfc3339)"},
             {Flag::toggle, "reuse", 0, "", "If the image alias already exists, delete and create a new one"}};
  c.examples = "incus publish c1 --alias web\nincus publish c1/golden --alias web description=\"web server\"";
  return c;
}

} // namespace cli
