// SPDX-License-Identifier: Apache-2.0
// Which cases of the suite do not run at a door, and why. A case not named here runs; what is named here is printed by every run.
#include "exceptions.hpp"

namespace suite {

namespace {

constexpr Exception table[] = {
    {"memory", "host: an instance outlives the host object",
     "memory goes with its host"},
    {"memory", "instances: a guest that stops or reboots by itself",
     "no guest in memory stops by itself"},
    {"memory", "instances: metadata and templates",
     "instances in memory have no files"},
    {"memory", "instances: metadata and templates come back with a snapshot, and with a refresh",
     "instances in memory have no files"},
    {"memory", "instances: links in the place of metadata and templates",
     "instances in memory have no files"},
    {"memory", "storage faces: backups of instances",
     "instances in memory have no files"},
    {"memory", "storage faces: backups of volumes, and media",
     "volumes in memory have no files"},
    {"memory", "storage faces: recovery of what a pool holds",
     "pools in memory end with their host"},
    {"https", "storage faces: recovery of what a pool holds",
     "a daemon answers rows of recovery on its unix socket alone"},
    {"memory", "pools: in the state directory only where they are by themselves",
     "a host in memory has no directory"},
    {"memory", "templates: written at the first start, at each, and for copies",
     "instances in memory have no files"},
    {"memory", "templates: one that cannot be rendered keeps its instance from starting",
     "instances in memory have no files"},
    {"memory", "templates: links in the root lead nowhere else",
     "instances in memory have no files"},
    {"official", "templates: one that cannot be rendered keeps its instance from starting",
     "the other language's messages are of its own"},
    {"remote", "pools: the first instance makes one",
     "the daemons of the suite are given their pool at their start"},
    {"official", "host: store, disk and memory agree",
     "GET /internal/check is ours"},
    {"official", "instances: a fresh root",
     "ends with GET /internal/check, which is ours; all before that passes"},
    {"official", "volumes: of a user's own",
     "takes a volume named \"..\"; and GET /internal/check is ours"},
    {"official", "volumes: of an instance",
     "answers what is asked of a container's volume: Invalid storage volume type \"container\""},
    {"official", "pools: from creation to deletion",
     "has no overlay driver, and no image volume in a dir pool before an instance needs it"},
    {"official", "config: every wrong key and value is refused by name, at every way in, and changes nothing",
     "takes values that we refuse, among them limits and raw keys of profiles"},
    {"official", "config: PATCH merges, an empty value unsets",
     "a PATCH that has no description empties it"},
    {"official", "config: PUT replaces",
     "takes an architecture that it does not know and keeps the instance's"},
    {"official", "config: volatile keys",
     "a client may set volatile keys"},
    {"official", "devices: every wrong one is refused by name, at every way in",
     "takes devices that we refuse, of profiles above all"},
    {"official", "profiles: in use",
     "takes a second root disk in a profile that is in use; the instance cannot be stopped afterwards"},
    {"official", "events: what happens to an instance, in order",
     "tells more and others: instance-exec, instance-shutdown before instance-stopped"},
    {"official", "events: operations tell how they go",
     "begins with Pending"},
    {"official", "host: operations",
     "its operations carry no code"},
    {"official", "refusals: names",
     "takes \"..\" as a snapshot's name and is broken by it"},
    {"official", "refusals: images for other machines",
     "takes an image of another architecture"},
    {"official", "refusals: images that demand or refuse something",
     "takes a configuration that the image refuses"},
    {"official", "refusals: creation",
     "takes a stateful container, which it cannot stop with its state"},
    {"official", "host: one project so far",
     "an unknown project has an empty list of instances"},
    {"official", "images: aliases",
     "an image whose alias exists already is imported all the same, then the operation fails"},
    {"official", "images: what is none is refused, and nothing is kept",
     "has no error but 500 for a damaged image"},
    {"official", "instances: limits by size",
     "takes a size that we refuse"},
    {"official", "instances: metadata and templates",
     "keeps templates whose paths lead out of the guest"},
    {"official", "exec: nobody listens",
     "has no list of recorded output before there is some"},
    {"official", "exec: requests that cannot be",
     "takes a variable whose name has '=' and a relative working directory"},
    {"official", "instances: from creation to deletion",
     "does not tell the disk use of an instance in a dir pool"},
    {"official", "instances: an empty one",
     "starts an instance with an empty root, and cannot tell its state then"},
    {"official", "instances: copies",
     "a stopped instance has no volatile.eth0.host_name"},
    {"official", "instances: of two that start the same one, one wins",
     "both starts succeed"},
    {"official", "snapshots: an expiry keeps its time zone",
     "an expiry that is taken away stays"},
    {"official", "console: who is attached, and who is next",
     "the operation of a console that another took over by force goes on"},
    {"official", "devices: disks of a guest that runs",
     "does not show a disk below another one's place; and GET /internal/check is ours"},
    {"official", "exec: fifty at once",
     "loses the output of a command now and then when many run at once"},
    {"official", "moves: to another pool, project and name",
     "loses an instance whose move to another project is refused late, and an instance that moved is as old as its move"},
    {"official", "volumes: refreshed",
     "refreshes a volume below a guest that runs"},
    {"official", "volumes: configuration",
     "takes owners below zero and changes initial.* of a volume that is there; and has no error but 500"},
    {"official", "volumes: disks",
     "a copy of a snapshot has the present size of its volume in its configuration, and restoring one leaves the disk smaller than that says"},
    {"official", "volumes: what disks and media cannot be",
     "takes options of file systems for disks, and has no error but 500 for what it refuses"},
    {"official", "devices: custom volumes",
     "GET /internal/check is ours"},
    {"official", "devices: nics of a guest that runs",
     "has other names and refusals for nics of a running guest; and GET /internal/check is ours"},
    {"official", "files: of a running instance",
     "does not delete a directory with what is in it"},
    {"official", "files: of a stopped instance, kept by start, snapshot, restore and copy",
     "does not delete a directory with what is in it"},
    {"official", "files: events and refusals of the rows",
     "keeps other modes than asked for"},
    {"official", "files: SFTP",
     "its SFTP server has fewer extensions and ends at a packet that is too short"},
    {"official", "images: what was imported comes back as bodies, with its name",
     "a PATCH with an empty list of profiles keeps the old one"},
    {"official", "images: published from an instance and from a snapshot",
     "other properties of a published image; and GET /internal/check is ours"},
    {"official", "instances: links in the place of metadata and templates",
     "follows a link that stands in the place of an instance's templates out of its directory"},
};

/// Refusals of which the official daemon gives another code than ours: by a part of its message. What is not here must agree.
struct Answer {
  const char *message, *reason;
};
constexpr Answer answers[] = {
    // Its operations carry no code, and much of what a client did wrong is its 500.
    {"Failed to start device", "ours tells that the configuration is wrong"},
    {"Failed start validation for device", "ours tells that the configuration is wrong"},
    {"Unable to connect to", "ours says before it connects that the secret is missing"},
    {"Image source not found", "ours tells that an image without a source cannot be asked for anew"},
    {"Instance is protected", "ours tells that its state is in the way"},
    {"Unknown driver", "ours tells that the request is wrong"},
    {"must be stopped to be moved", "ours tells that its state is in the way"},
    {"Invalid value for option", "ours tells that the request is wrong"},
    {"Invalid option", "ours tells that the request is wrong"},
    {"Source path 'relative'", "ours tells that the request is wrong"},
    {"Invalid devices: Device validation failed", "ours tells that the request is wrong"},
    {"Source path '/", "ours tells that the request is wrong"},
    {"Profile \"site\" doesn't exist", "ours tells that it is not there"},
    {"isn't running", "ours tells that its state is in the way"},
    {"Renaming of running instance", "ours tells that its state is in the way"},
    {"Instance is frozen", "ours tells that its state is in the way"},
    {"migration.stateful be set", "ours tells that it has no such thing"},
    {"does not exist", "ours tells that it is not there"},
    {"UNIQUE constraint failed", "ours tells that the name is taken"},
};

} // namespace

std::string reason_to_differ(const std::string &message) {
  for (auto &a : answers)
    if (message.find(a.message) != message.npos) return a.reason;
  return {};
}

std::vector<Exception> exceptions(const std::string &door) {
  std::vector<Exception> out;
  for (auto &e : table)
    if (door == e.door) out.push_back(e);
  return out;
}

} // namespace suite
