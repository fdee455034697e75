// SPDX-License-Identifier: Apache-2.0
// Files of an instance over the REST API.
#pragma once
#include "output.hpp"
#include "server.hpp"

namespace cli {

/// "INSTANCE/path" of a server.
struct RemotePath {
  Target target;
  std::string instance, path;
};
RemotePath remote_path(Context &context, const std::string &argument);

struct FileFacts {
  std::string type = "file"; ///< "file", "directory" or "symlink"
  std::int64_t uid = 0, gid = 0;
  int mode = 0644;
};

struct FoundFile {
  FileFacts facts;
  Strings entries; ///< of a directory
  int fd = -1;     ///< of a file and of a symlink (its target); the caller closes it
  std::int64_t size = -1;
};

class Files {
public:
  Files(Server &server, std::string instance) : server_(server), instance_(std::move(instance)) {}
  FoundFile get(const std::string &path);
  /// Nothing when it is not there; descriptors are closed.
  std::optional<FoundFile> look(const std::string &path);
  std::string read_link(const std::string &path);
  /// `fd` -1: no content.
  void put(const std::string &path, const FileFacts &facts, int fd, bool overwrite = true);
  void put_text(const std::string &path, const FileFacts &facts, const std::string &text);
  void remove(const std::string &path);
  void remove_all(const std::string &path);
  /// Makes what is missing of the directory and above it.
  void make_directories(const std::string &path, const FileFacts &facts);

private:
  std::string url_of(const std::string &path) const;
  Server &server_;
  std::string instance_;
};

std::string clean_path(const std::string &path);
std::string parent_of(const std::string &path);
std::string name_of(const std::string &path);
int parse_mode(const std::string &text);
int file_push(Context &context);
int file_pull(Context &context);

} // namespace cli
