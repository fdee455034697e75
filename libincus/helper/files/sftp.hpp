// SPDX-License-Identifier: Apache-2.0
// A server of the SSH file transfer protocol version 3 (draft-ietf-secsh-filexfer-02) with the extensions of OpenSSH that clients use.
#pragma once
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "helper/files/vfs.hpp"
#include "helper/files/wire.hpp"

namespace incus::files {

/// The state of one connection; answers packets, knows nothing of sockets.
class Sftp {
public:
  explicit Sftp(Vfs &vfs) : vfs_(vfs) {}
  /// Takes one packet (without its length) and appends the answer to `out`. False: the client breaks the protocol and is to be dropped.
  bool answer(std::string_view packet, std::string &out);
  static constexpr std::size_t max_handles = 512;

private:
  struct Handle {
    std::unique_ptr<File> file;
    std::unique_ptr<Directory> directory;
    bool append = false;
  };
  void status(std::string &out, std::uint32_t id, int err);
  void reply_attrs(std::string &out, std::uint32_t id, int err, const Stat &st);
  void reply_name(std::string &out, std::uint32_t id, const std::string &name);
  Handle *find(const std::string &name);
  void open(wire::Reader &in, std::string &out, std::uint32_t id);
  void open_directory(wire::Reader &in, std::string &out, std::uint32_t id);
  void add(Handle h, std::string &out, std::uint32_t id);
  void read(wire::Reader &in, std::string &out, std::uint32_t id);
  void write(wire::Reader &in, std::string &out, std::uint32_t id);
  void read_directory(wire::Reader &in, std::string &out, std::uint32_t id);
  bool by_path(wire::Type type, wire::Reader &in, std::string &out, std::uint32_t id);
  bool by_handle(wire::Type type, wire::Reader &in, std::string &out, std::uint32_t id);
  void extended(wire::Reader &in, std::string &out, std::uint32_t id);

  Vfs &vfs_;
  bool started_ = false;
  std::uint32_t next_ = 1;
  std::map<std::string, Handle> handles_;
  std::string buffer_;
};

/// Serves a connected stream socket until its end.
void serve_sftp(Vfs &vfs, int socket);

} // namespace incus::files
