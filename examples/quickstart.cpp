// SPDX-License-Identifier: Apache-2.0
// quickstart DIRECTORY IMAGE COMMAND...: imports an image into a private host, launches a container, runs a command in it and
// prints how long each step took. examples/quickstart builds it, makes the image and calls it.
#include <chrono>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include <incus/incus.hpp>

namespace {

void step(const char *what, const std::function<void()> &work) {
  auto begin = std::chrono::steady_clock::now();
  work();
  std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - begin;
  std::printf("  %-34s %9.1f ms\n", what, took.count());
  std::fflush(stdout);
}

} // namespace

int main(int argc, char **argv) {
  if (argc < 4) {
    std::fprintf(stderr, "usage: quickstart DIRECTORY IMAGE COMMAND...\n");
    return 2;
  }
  const std::string directory = argv[1], image = argv[2];
  const std::vector<std::string> command(argv + 3, argv + argc);
  try {
    incus::OpenOptions options;
    options.auto_destroy = true; // whatever happens to this process, the container goes with it
    std::optional<incus::Host> host;
    std::optional<incus::Instance> c;
    incus::ExecResult result;
    step("open the host", [&] { host.emplace(incus::Host::open("embed://" + directory, options)); });
    incus::ImageImport how;
    how.alias = "quickstart";
    step("import the image", [&] { host->import_image(image, how).wait(); });
    step("launch c1 until its init is up", [&] { c.emplace(host->launch("c1", "quickstart")); });
    step("run the command", [&] { result = c->exec(command); });
    std::printf("%s%s", result.stdout_data.c_str(), result.stderr_data.c_str());
    step("launch c2 of the same image", [&] { host->launch("c2", "quickstart"); });
    step("take a snapshot of c1", [&] { c->create_snapshot({.name = "s0", .stateful = false, .expires_at = {}}).wait(); });
    step("stop both by force", [&] {
      auto other = host->instance("c2").stop(true);
      c->stop(true).wait();
      other.wait();
    });
    step("delete both", [&] {
      auto other = host->instance("c2").remove();
      c->remove().wait();
      other.wait();
    });
    step("close the host", [&] { host->close(); });
    return result.exit_code;
  } catch (const incus::Error &e) {
    std::fprintf(stderr, "quickstart: %s\n", e.what());
    return 1;
  }
}
