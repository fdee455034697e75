// SPDX-License-Identifier: Apache-2.0
// Volumes of users: copied, refreshed and moved, on one server.
#include "storage_volume.hpp"

namespace cli {

namespace {

/// POOL/VOLUME or POOL/VOLUME/SNAPSHOT of a server.
struct Spot {
  Target at;
  std::string pool, volume, snapshot;
};

Spot spot(Context &c, const std::string &text, const char *which) {
  Spot s;
  s.at = c.target(text);
  if (s.at.name.empty()) fail("Missing {} volume name", which);
  auto slash = s.at.name.find('/');
  if (slash == std::string::npos) fail("No storage pool for {} volume specified", which);
  s.pool = s.at.name.substr(0, slash);
  s.volume = s.at.name.substr(slash + 1);
  if (auto cut = s.volume.find('/'); cut != std::string::npos) {
    s.snapshot = s.volume.substr(cut + 1);
    s.volume.resize(cut);
  }
  if (s.pool.empty()) fail("No storage pool for {} volume specified", which);
  return s;
}

void one_server(Context &c, const Spot &from, const Spot &to, const char *doing) {
  if (c.given("target") || c.given("destination-target"))
    if (!from.at.server->clustered()) fail("Cannot set --target when source server is not clustered");
  if (from.at.remote != to.at.remote) fail("Volumes aren't {} between servers by this program yet: {} and {} differ", doing, from.at.remote, to.at.remote);
}

int copy(Context &c) {
  auto from = spot(c, c.args[0], "source"), to = spot(c, c.args[1], "target");
  one_server(c, from, to, "copied");
  if (!from.snapshot.empty() && c.flag("volume-only")) fail("Cannot set --volume-only when copying a snapshot");
  auto &server = *from.at.server;
  auto path = url({"storage-pools", from.pool, "volumes", "custom", from.volume});
  auto now = server.get(path);
  auto content = str(now, "content_type");
  if (!from.snapshot.empty()) now = server.get(path + "/snapshots/" + escape(from.snapshot));
  json::object source{{"type", "copy"},
                      {"pool", from.pool},
                      {"name", from.snapshot.empty() ? from.volume : from.volume + "/" + from.snapshot},
                      {"volume_only", c.flag("volume-only")},
                      {"refresh", c.flag("refresh")}};
  if (c.flag("refresh-exclude-older")) source["refresh_exclude_older"] = true;
  auto project = server.project();
  if (auto target = c.text("target-project"); !target.empty()) {
    source["project"] = project.empty() ? "default" : project;
    server.use_project(target);
  }
  json::object body{{"name", to.volume},
                    {"type", "custom"},
                    {"content_type", content},
                    {"description", str(now, "description")},
                    {"config", at(now, "config")},
                    {"source", source}};
  auto op = server.start("POST", url({"storage-pools", to.pool, "volumes", "custom"}), body);
  if (op) wait_for(c, *op, "Copying the storage volume: {}", "Storage volume copied successfully!");
  server.use_project(project);
  return 0;
}

int move(Context &c) {
  auto from = spot(c, c.args[0], "source"), to = spot(c, c.args[1], "target");
  one_server(c, from, to, "moved");
  auto path = url({"storage-pools", from.pool, "volumes", "custom", from.volume});
  auto project = c.text("target-project");
  if (from.pool == to.pool && project.empty()) {
    json::object body{{"name", to.volume}};
    from.at.server->finish("POST", path, body);
    if (!c.quiet()) say("Renamed storage volume from \"{}\" to \"{}\"\n", from.volume, to.volume);
    return 0;
  }
  json::object body{{"name", to.volume}, {"pool", to.pool}};
  if (!project.empty()) body["project"] = project;
  auto op = from.at.server->start("POST", path, body);
  if (op) wait_for(c, *op, "Moving the storage volume: {}", "Storage volume moved successfully!");
  return 0;
}

std::vector<Flag> flags(bool is_copy) {
  std::vector<Flag> out = {{Flag::text, "mode", 0, "pull", "Transfer mode, one of pull (default), push or relay"},
                           target_flag,
                           {Flag::text, "destination-target", 0, "", "Destination cluster member name"},
                           {Flag::text, "target-project", 0, "", is_copy ? "Copy to a project different from the source" : "Move to a project different from the source"}};
  if (!is_copy) return out;
  out.push_back({Flag::toggle, "volume-only", 0, "", "Copy the volume without its snapshots"});
  out.push_back({Flag::toggle, "refresh", 0, "", "Refresh and update the existing storage volume copies"});
  out.push_back({Flag::toggle, "refresh-exclude-older", 0, "", "During refresh, exclude source snapshots earlier than latest target snapshot"});
  return out;
}

} // namespace

std::vector<Command> storage_volume_copies() {
  return {
      {"copy cp",
       "[<remote>:]<pool>/<volume>[/<snapshot>] [<remote>:]<pool>/<volume>",
       "Copy custom storage volumes",
       2,
       2,
       copy,
       flags(true),
       {},
       {},
       "incus storage volume copy default/data fast/data\nincus storage volume copy default/data fast/data --refresh"},
      {"move mv", "[<remote>:]<pool>/<volume> [<remote>:]<pool>/<volume>", "Move custom storage volumes between pools", 2, 2, move, flags(false)},
  };
}

} // namespace cli
