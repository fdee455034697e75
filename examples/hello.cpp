// SPDX-License-Identifier: Apache-2.0
// hello URI IMAGE: one container from C++. Build: g++ -std=c++20 hello.cpp $(pkg-config --cflags --libs incus)
#include <incus/incus.hpp>

#include <iostream>

int main(int argc, char **argv) try {
  if (argc != 3) throw std::invalid_argument("usage: hello URI IMAGE, such as: hello embed:///var/tmp/demo image.tar.gz");
  // [readme]
  incus::Host host = incus::Host::open(argv[1]); // "embed:///var/tmp/demo"
  host.import_image(argv[2], {.alias = "busy"}).wait();
  incus::Instance c = host.launch("c1", "busy"); // running and ready
  incus::ExecResult r = c.exec({"uname", "-a"});
  std::cout << r.exit_code << " " << r.stdout_data << r.stderr_data;
  c.create_snapshot({.name = "s0"}).wait();
  c.restore("s0").wait();
  for (const auto &i : host.instances()) std::cout << i.name << " " << i.status << "\n";
  c.stop(true).wait();
  c.remove().wait();
  // [/readme]
  return r.exit_code;
} catch (const std::exception &e) { // incus::Error has a code() as well
  std::cerr << e.what() << "\n";
  return 1;
}
