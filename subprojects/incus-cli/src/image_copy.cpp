// SPDX-License-Identifier: Apache-2.0
// Images between servers, and between projects of one.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "create.hpp"
#include "image.hpp"
#include "object.hpp"

namespace cli {

namespace {

/// A file without a name; where there can be none, memory.
struct Temporary {
  Temporary() {
    auto *folder = getenv("TMPDIR");
    fd = open(folder && *folder ? folder : "/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0) fd = memfd_create("incus-image", MFD_CLOEXEC);
    if (fd < 0) fail("No temporary file: {}", strerror(errno));
  }
  Temporary(const Temporary &) = delete;
  ~Temporary() { close(fd); }
  int fd;
};

std::string fingerprint_of(const incus::OperationInfo &info) { return str(metadata_of(info), "fingerprint"); }

/// The source sends it, with a secret that the target gave out.
std::string push(Context &c, Server &source, Server &target, const std::string &fingerprint, const json::object &wishes) {
  auto request = wishes;
  request.erase("profiles");
  request.erase("auto_update");
  request["source"] = {{"mode", "push"}, {"fingerprint", fingerprint}};
  auto token = target.start("POST", url({"images"}), request);
  if (!token) fail("No token provided");
  auto give_up = [&] {
    try {
      token->cancel();
    } catch (const incus::Error &) {
      // Used.
    }
  };
  try {
    json::object order{{"certificate", str(at(target.info(), "environment"), "certificate")},
                       {"secret", str(metadata_of(token->info()), "secret")},
                       {"project", target.project().empty() ? "default" : target.project()}};
    if (auto *profiles = wishes.if_contains("profiles")) order["profiles"] = *profiles;
    order["target"] = network_addresses(target).front();
    auto op = source.start("POST", url({"images", fingerprint, "export"}), order);
    if (!op) fail("The server started no copy");
    wait_for(c, *op, "Copying the image: {}");
  } catch (...) {
    give_up();
    throw;
  }
  give_up();
  return fingerprint;
}

/// Over this machine.
std::string relay(Context &c, Server &source, Server &target, const std::string &fingerprint, const json::object &wishes) {
  incus::RawCall fetch;
  fetch.method = "GET";
  fetch.path = url({"images", fingerprint, "export"});
  auto reply = source.call(std::move(fetch));
  if (reply.bodies.empty()) fail("The server sent no image");
  std::vector<std::unique_ptr<Temporary>> files;
  {
    Progress progress(c, "Exporting the image: {}");
    for (auto &b : reply.bodies) {
      files.push_back(std::make_unique<Temporary>());
      copy_stream(b.fd, files.back()->fd, &progress, b.size);
      close(b.fd);
      lseek(files.back()->fd, 0, SEEK_SET);
    }
  }
  incus::RawCall send;
  send.method = "POST";
  send.path = url({"images"});
  send.headers["X-Incus-public"] = truth(json::value(wishes), "public") ? "true" : "false";
  send.headers["X-Incus-filename"] = fingerprint;
  send.headers["X-Incus-fingerprint"] = fingerprint;
  if (auto *profiles = wishes.if_contains("profiles")) {
    std::string text;
    for (auto &p : profiles->as_array()) text += (text.empty() ? "profile=" : "&profile=") + escape(p.as_string());
    send.headers["X-Incus-profiles"] = text;
  }
  if (files.size() > 1)
    send.streams = {{"metadata", files[0]->fd}, {"rootfs", files[1]->fd}};
  else
    send.streams = {{"image", files[0]->fd}};
  auto sent = target.call(std::move(send));
  if (!sent.operation) fail("The server started no import");
  return fingerprint_of(wait_for(c, *sent.operation, "Copying the image: {}"));
}

} // namespace

std::string copy_image(Context &c, const std::string &from, const std::string &to, const std::string &image, const std::string &mode, const json::object &wishes) {
  auto &target = c.server(to);
  if (mode == "pull") {
    json::object body = wishes;
    Strings addresses;
    body["source"] = image_source(c, from, to, image, nullptr, &addresses);
    auto &source = body["source"].as_object();
    if (c.flag("vm")) source["image_type"] = "virtual-machine";
    if (c.settings.remote(from).protocol != "incus") source["image_type"] = c.flag("vm") ? "virtual-machine" : "container";
    return fingerprint_of(ask_over(c, target, url({"images"}), body, addresses, "Copying the image: {}"));
  }
  if (mode != "push" && mode != "relay") fail("Unknown transfer mode \"{}\": must be pull, push or relay", mode);
  auto &source = c.server(from);
  auto fingerprint = image_fingerprint(source, image);
  fingerprint = str(source.get(url({"images", fingerprint})), "fingerprint");
  return mode == "push" ? push(c, source, target, fingerprint, wishes) : relay(c, source, target, fingerprint, wishes);
}

int image_copy(Context &c) {
  auto [from, image] = c.split(c.args[0]);
  auto [to, name] = c.split(c.args[1]);
  if (!name.empty()) fail("Can't provide a name for the target image");
  auto project = c.text("target-project");
  if (from == to && project.empty()) fail("The source and target servers must be different");
  Strings aliases = c.list("alias");
  if (c.flag("copy-aliases") && c.settings.remote(from).protocol == "incus") {
    auto &server = c.server(from);
    auto info = server.get(url({"images", image_fingerprint(server, image)}));
    for (auto &a : array_at(info, "aliases")) aliases.push_back(str(a, "name"));
  }
  json::object wishes{{"public", c.flag("public")}, {"auto_update", c.flag("auto-update")}};
  if (c.given("profile")) wishes["profiles"] = json::value_from(c.list("profile"));
  auto &target = c.server(to);
  std::string fingerprint;
  if (from == to) {
    json::object body = wishes;
    auto own = target.project().empty() ? "default" : target.project();
    auto source = image_source(c, from, to, image, nullptr);
    source.as_object()["project"] = own;
    body["source"] = std::move(source);
    target.use_project(project);
    fingerprint = fingerprint_of(ask_over(c, target, url({"images"}), body, {}, "Copying the image: {}"));
  } else {
    if (!project.empty()) target.use_project(project);
    fingerprint = copy_image(c, from, to, image, c.text("mode"), wishes);
  }
  if (!c.quiet()) say("\rImage copied successfully!\n");
  ensure_aliases(target, aliases, fingerprint);
  return 0;
}

} // namespace cli
