// SPDX-License-Identifier: Apache-2.0
// What the typed handles and the C face share: building a request, performing it on a session, guarding what comes back.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "api/door.hpp"

namespace incus::api {

using SessionPtr = std::shared_ptr<Session>;

/// A request for the object named by `path`; `project` travels only when it is not the default one.
Request at(std::vector<std::string> path, const std::string &project = {});
Request with_body(Request request, json::value body, const Etag &if_match = {});
Request with_query(Request request, std::string key, std::string value);

/// Session::perform for a handle that may be empty (moved from).
Reply perform(const SessionPtr &session, RowId row, Request request);
/// An asynchronous row. Its operation refuses to be used in a forked child and after the host is closed.
Operation begin(const SessionPtr &session, RowId row, Request request);
/// A synchronous row that answers with an operation when there is much to do; a finished one when it answered at once.
Operation begin_or_done(const SessionPtr &session, RowId row, Request request);
/// An operation that has ended well.
std::shared_ptr<OperationBackend> finished_operation(const std::string &description);
/// Wraps what a door returned as begin() does.
Operation guarded(const SessionPtr &session, std::shared_ptr<OperationBackend> backend);
std::shared_ptr<ListenerBackend> listen(const SessionPtr &session, const std::vector<std::string> &types, std::size_t capacity);
/// What a row of kind stream answered, all of it.
std::string bytes_of(Reply &reply);
/// The operation of that id, whoever began it.
Operation find_operation(const SessionPtr &session, const std::string &id);

/// "/1.0/instances/c1?project=p" -> "c1".
std::string name_from_url(const std::string &url);
/// The names in a recursion=0 list.
std::vector<std::string> names_from_urls(const json::value &urls);
/// The name of the first object of a kind that an operation works on; empty when there is none.
std::string resource_name(const OperationInfo &info, const char *kind);
/// GET /1.0/operations is a list here, an object of lists by status in REST: gives the list.
json::value operation_list(const json::value &metadata);
/// The row, placeholders and query of a method and URL; throws not_found for an unknown path, not_supported for a wrong method.
std::pair<const Row *, Request> route(const std::string &method, const std::string &path_and_query);
/// The body of a launch: source and start filled in. Aliases win over fingerprints, as in `incus launch`.
InstanceSource image_source(const SessionPtr &session, const std::string &image, const std::string &project);

/// The body of an instance's move: with a name, and "migration" where it is more than a rename (the official daemon wants to be told).
json::object move_body(json::object body, const std::string &name);

// exec.cpp
/// Runs a command on descriptors (-1: /dev/null); they are duplicated.
Operation begin_exec(const SessionPtr &session, const std::string &project, const std::string &instance, json::value request, const ExecIo &io);
/// Runs a command, feeds `input` to it and captures what it writes.
ExecResult run_exec(const SessionPtr &session, const std::string &project, const std::string &instance, json::value request,
                    const std::string &input);
/// The exit code in the metadata of an exec that ended.
int exit_code(const OperationInfo &info);

// images.cpp
/// POST /1.0/images with the streams `paths` name: one file or directory, or metadata and rootfs.
Operation begin_import(const SessionPtr &session, const std::string &project, const std::vector<std::string> &paths, json::value how);
/// Writes an image to `path` (and a second file beside it); the names written. Nothing is left behind on failure.
std::vector<std::string> export_image(const SessionPtr &session, const std::string &project, const std::string &image, const std::string &path);

/// The one body of a reply, given on in pieces; how many bytes. `what` is for errors; `cut`: what may have happened to one that is shorter than was said.
std::int64_t drain(const Reply &reply, const std::string &what, const char *cut, const std::function<void(std::string_view)> &take);

// backups.cpp
/// Rows and path of a backup's owner: an instance's name, or pool, "custom" and volume.
struct BackupRows {
  RowId list, create, get, rename, remove, bytes;
};
const BackupRows &backup_rows(const std::vector<std::string> &owner);
/// Streams a backup to a descriptor; how many bytes.
std::int64_t export_backup(const SessionPtr &session, const std::string &project, std::vector<std::string> owner, const std::string &backup, int to_fd);
base::Fd open_backup(const std::string &path);
/// What a descriptor gives until its end becomes an instance or a volume.
Operation import_instance(const SessionPtr &session, const std::string &project, int from_fd, const BackupImport &how);
Operation import_volume(const SessionPtr &session, const std::string &project, const std::string &pool, int from_fd, const std::string &name, const char *type = "");

} // namespace incus::api
