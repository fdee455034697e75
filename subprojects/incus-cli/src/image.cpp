// SPDX-License-Identifier: Apache-2.0
#include "image.hpp"
#include "create.hpp"
#include "list_filter.hpp"
#include "object.hpp"

namespace cli {

Strings existing_aliases(Server &server, const Strings &names) {
  Strings out;
  if (names.empty()) return out;
  auto all = server.get(url({"images", "aliases"}) + "?recursion=1");
  if (all.is_array())
    for (auto &a : all.get_array())
      if (std::find(names.begin(), names.end(), str(a, "name")) != names.end()) out.push_back(str(a, "name"));
  return out;
}

void ensure_aliases(Server &server, const Strings &names, const std::string &fingerprint) {
  for (auto &n : existing_aliases(server, names)) {
    try {
      server.send("DELETE", url({"images", "aliases", n}));
    } catch (const incus::Error &e) {
      if (e.code() != incus::ErrorCode::not_found) fail("Failed to remove alias {}: {}", n, e.what());
    }
  }
  for (auto &n : names) {
    json::object body{{"name", n}, {"target", fingerprint}};
    try {
      server.send("POST", url({"images", "aliases"}), body);
    } catch (const incus::Error &e) {
      fail("Failed to create alias {}: {}", n, e.what());
    }
  }
}

void delete_images_of(Server &server, const Strings &names, const std::string &keep) {
  Strings seen{keep};
  for (auto &n : existing_aliases(server, names)) {
    auto fingerprint = str(server.get(url({"images", "aliases", n})), "target");
    if (std::find(seen.begin(), seen.end(), fingerprint) != seen.end()) continue;
    seen.push_back(fingerprint);
    auto image = server.get(url({"images", fingerprint}));
    bool others = false;
    for (auto &a : array_at(image, "aliases")) others = others || std::find(names.begin(), names.end(), str(a, "name")) == names.end();
    if (!others) server.finish("DELETE", url({"images", fingerprint}));
  }
}

namespace {

Object image(Context &c, const char *missing = "Image identifier missing") {
  auto t = c.target(c.args[0]);
  if (t.name.empty()) fail("{}: {}", missing, c.args[0]);
  auto fingerprint = image_fingerprint(*t.server, t.name);
  return {t.server, url({"images", fingerprint}), "Image", "ImagePut", t.name};
}

std::string mebibytes(const json::value &i) { return fmt::format("{:.2f}MiB", static_cast<double>(num(i, "size")) / 1024 / 1024); }

std::string shortest_alias(const json::value &i) {
  std::string best;
  auto &all = array_at(i, "aliases");
  for (auto &a : all) {
    auto n = str(a, "name");
    if (best.empty() || (!n.empty() && n.size() < best.size())) best = n;
  }
  return all.size() > 1 ? fmt::format("{} ({} more)", best, all.size() - 1) : best;
}

int list(Context &c) {
  check_format(c.text("format"));
  if (c.given("project") && c.flag("all-projects")) fail("Can't specify --project with --all-projects");
  static const std::vector<Column<json::value>> known = {
      {'a', "ARCHITECTURE", [](auto &r) { return str(r, "architecture"); }},
      {'d', "DESCRIPTION", [](auto &r) { return str(at(r, "properties"), "description"); }},
      {'e', "PROJECT", [](auto &r) { return str(r, "project"); }},
      {'f', "FINGERPRINT", [](auto &r) { return str(r, "fingerprint").substr(0, 12); }},
      {'F', "FINGERPRINT", [](auto &r) { return str(r, "fingerprint"); }},
      {'l', "ALIAS", [](auto &r) { return shortest_alias(r); }},
      {'L', "ALIASES",
       [](auto &r) {
         Strings names;
         for (auto &a : array_at(r, "aliases")) names.push_back(str(a, "name"));
         std::sort(names.begin(), names.end());
         return join(names, "\n");
       }},
      {'p', "PUBLIC", [](auto &r) { return std::string(truth(r, "public") ? "yes" : "no"); }},
      {'s', "SIZE", [](auto &r) { return mebibytes(r); }},
      {'t', "TYPE", [](auto &r) { return str(r, "type").empty() ? std::string("CONTAINER") : upper(str(r, "type")); }},
      {'u', "UPLOAD DATE", [](auto &r) { return show_time(str(r, "uploaded_at")); }},
  };
  bool everywhere = c.flag("all-projects");
  auto columns = pick_columns(known, everywhere && !c.given("columns") ? "elfpdatsu" : c.text("columns"));
  Strings filters;
  std::string remote = c.settings.default_remote;
  for (std::size_t i = 0; i < c.args.size(); i++) {
    if (i == 0 && c.args[i].find('=') == std::string::npos) {
      std::string name;
      std::tie(remote, name) = c.split(c.args[i]);
      if (!name.empty()) filters.push_back(name);
    } else {
      filters.push_back(c.args[i]);
    }
  }
  auto all = c.server(remote).get(url({"images"}) + "?recursion=1" + (everywhere ? "&all-projects=true" : ""));
  json::array shown;
  for (auto &i : all.as_array())
    if (image_matches(i, filters)) shown.push_back(i);
  show_columns(c.text("format"), columns, shown, shown, "[Image");
  return 0;
}

int info(Context &c) {
  auto o = image(c);
  auto i = o.server->get(o.path);
  auto or_never = [&](const char *field) { return zero_time(str(i, field)) ? std::string("never") : show_time(str(i, field)); };
  auto yes = [&](const char *field) { return truth(i, field) ? "yes" : "no"; };
  say("Fingerprint: {}\nSize: {}\nArchitecture: {}\nType: {}\nPublic: {}\nTimestamps:\n", str(i, "fingerprint"), mebibytes(i), str(i, "architecture"),
      str(i, "type").empty() ? "container" : str(i, "type"), yes("public"));
  if (!zero_time(str(i, "created_at"))) say("    Created: {}\n", show_time(str(i, "created_at")));
  say("    Uploaded: {}\n    Expires: {}\n    Last used: {}\nProperties:\n", show_time(str(i, "uploaded_at")), or_never("expires_at"),
      or_never("last_used_at"));
  std::map<std::string, std::string> properties;
  for (auto &p : object_at(i, "properties")) properties[p.key()] = str(at(i, "properties"), p.key());
  for (auto &[k, v] : properties) say("    {}: {}\n", k, v);
  print("Aliases:\n");
  for (auto &a : array_at(i, "aliases")) {
    auto d = str(a, "description");
    say("    - {}{}\n", str(a, "name"), d.empty() ? "" : " (" + d + ")");
  }
  say("Cached: {}\nAuto update: {}\n", yes("cached"), truth(i, "auto_update") ? "enabled" : "disabled");
  if (auto &s = at(i, "update_source"); s.is_object())
    say("Source:\n    Server: {}\n    Protocol: {}\n    Alias: {}\n", str(s, "server"), str(s, "protocol"), str(s, "alias"));
  auto profiles = strings_at(i, "profiles");
  if (profiles.empty())
    print("Profiles: []\n");
  else
    print("Profiles:\n");
  for (auto &p : profiles) say("    - {}\n", p);
  return 0;
}

int erase(Context &c) {
  for (auto &a : c.args) {
    auto t = c.target(a);
    if (t.name.empty()) fail("Image identifier missing: {}", a);
    auto fingerprint = image_fingerprint(*t.server, t.name);
    t.server->finish("DELETE", url({"images", fingerprint}));
  }
  return 0;
}

int refresh(Context &c) {
  for (auto &a : c.args) {
    auto t = c.target(a);
    if (t.name.empty()) fail("Image identifier missing: {}", a);
    auto fingerprint = image_fingerprint(*t.server, t.name);
    auto op = t.server->start("POST", url({"images", fingerprint, "refresh"}));
    bool refreshed = op && truth(metadata_of(wait_for(c, *op, "Refreshing the image: {}")), "refreshed");
    print(refreshed ? "Image refreshed successfully!\n" : "Image already up to date.\n");
  }
  return 0;
}

int set_property(Context &c) {
  if (c.args.size() < 3) fail("Property not found");
  change_object(image(c), [&](json::value &put, const json::value &) { make_object(put, "properties")[c.args[1]] = c.args[2]; });
  return 0;
}
int unset_property(Context &c) {
  change_object(image(c), [&](json::value &put, const json::value &) {
    auto &p = make_object(put, "properties");
    if (!p.if_contains(c.args[1])) fail("Property not found");
    p.erase(c.args[1]);
  });
  return 0;
}
int get_property(Context &c) {
  auto o = image(c);
  auto now = o.server->get(o.path);
  auto &p = at(at(now, "properties"), c.args[1]);
  if (p.is_null()) fail("Property not found");
  say("{}\n", go_value(p, "s"));
  return 0;
}

int show(Context &c) {
  auto o = image(c);
  print(to_yaml(shaped(o.server->get(o.path), "ImagePut"), "ImagePut"));
  return 0;
}

} // namespace

Command image_command() {
  Command c;
  c.names = "image";
  c.brief = "Manage images";
  const Flag vm{Flag::toggle, "vm", 0, "", "Query virtual machine images"};
  const Flag alias{Flag::list, "alias", 0, "", "New aliases to add to the image"};
  const Flag is_public{Flag::toggle, "public", 0, "", "Make image public"};
  c.children = {
      image_alias_command(),
      {"copy cp",
       "[<remote>:]<image> <remote>:",
       "Copy images between servers",
       2,
       2,
       image_copy,
       {is_public,
        {Flag::toggle, "copy-aliases", 0, "", "Copy aliases from source"},
        {Flag::toggle, "auto-update", 0, "", "Keep the image up to date after initial copy"},
        alias,
        {Flag::toggle, "vm", 0, "", "Copy virtual machine images"},
        {Flag::text, "mode", 0, "pull", "Transfer mode. One of pull (default), push or relay"},
        {Flag::text, "target-project", 0, "", "Copy to a project different from the source"},
        {Flag::list, "profile", 'p', "", "Profile to apply to the new image"}}},
      {"delete rm", "[<remote>:]<image> [[<remote>:]<image>...]", "Delete images", 1, -1, erase},
      {"edit", "[<remote>:]<image>", "Edit image properties", 1, 1,
       [](Context &x) {
         edit_object(image(x),
                     "The image as YAML. Lines that start with # are ignored.\nFingerprint, size and other facts are shown and cannot be changed.");
         return 0;
       }},
      {"export",
       "[<remote>:]<image> [<target>]",
       "Export and download images",
       1,
       2,
       image_export,
       {vm},
       {},
       "The target is a directory or a file; a split image makes two files."},
      {"get-property", "[<remote>:]<image> <key>", "Get image properties", 2, 2, get_property},
      {"import",
       "<tarball>|<directory>|<URL> [<rootfs tarball>] [<remote>:] [key=value...]",
       "Import images into the image store",
       1,
       -1,
       image_import,
       {is_public, {Flag::toggle, "reuse", 0, "", "If the image alias already exists, delete and create a new one"}, alias},
       {},
       {},
       "incus image import debian.tar.xz --alias debian\nincus image import incus.tar.xz rootfs.squashfs --alias debian description=\"Debian 12\""},
      {"info", "[<remote>:]<image>", "Show useful information about images", 1, 1, info, {vm}},
      {"list ls",
       "[<remote>:] [<filter>...]",
       "List images",
       0,
       -1,
       list,
       {{Flag::text, "columns", 'c', "lfpdatsu", "Columns"}, format_flag, all_projects_flag},
       {},
       "Filters are key=value pairs of properties, and parts of aliases and fingerprints.\n\nColumns:\n  l - Shortest alias   F - Fingerprint (long) "
       "  d - Description    s - Size\n"
       "  L - Aliases          p - Public               e - Project        u - Upload date\n  f - Fingerprint      a - Architecture         t - "
       "Type"},
      {"refresh", "[<remote>:]<image> [[<remote>:]<image>...]", "Refresh images", 1, -1, refresh},
      {"set-property", "[<remote>:]<image> <key> <value>", "Set image properties", 3, 3, set_property},
      {"show", "[<remote>:]<image>", "Show image properties", 1, 1, show, {vm}},
      {"unset-property", "[<remote>:]<image> <key>", "Unset image properties", 2, 2, unset_property},
  };
  return c;
}

} // namespace cli
