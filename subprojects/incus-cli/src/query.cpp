// SPDX-License-Identifier: Apache-2.0
#include "create.hpp"
#include "output.hpp"
#include "server.hpp"

namespace cli {

namespace {

int run(Context &c) {
  if (c.given("project")) fail("--project cannot be used with the query command");
  auto method = c.text("request");
  static const char *const known[] = {"GET", "PUT", "POST", "PATCH", "DELETE"};
  if (std::none_of(std::begin(known), std::end(known), [&](auto *k) { return method == k; }))
    fail("Action \"{}\" isn't supported by this tool", method);
  auto [remote, path] = c.split(c.args[0]);
  if (path.empty() || path[0] != '/') fail("Query path must start with /");
  auto &server = c.server(remote);
  server.use_project("");
  incus::RawCall call;
  call.method = method;
  call.path = path;
  if (auto data = c.text("data"); !data.empty()) {
    boost::system::error_code error;
    (void)json::parse(data, error);
    call.body = error ? json::serialize(json::value(data)) : data;
  }
  incus::RawReply reply;
  try {
    reply = server.call(call);
  } catch (const incus::Error &e) {
    if (!c.flag("raw")) throw;
    auto status = incus::http_status(e.code());
    say("{}\n\n", pretty_json(json::object{{"type", "error"},
                                           {"status", ""},
                                           {"status_code", 0},
                                           {"operation", ""},
                                           {"error_code", status},
                                           {"error", e.what()},
                                           {"metadata", nullptr}},
                              false));
    return 0;
  }
  if (!reply.bodies.empty()) {
    print(read_bodies(std::move(reply)));
    return 0;
  }
  json::object envelope{{"type", "sync"}, {"status", "Success"}, {"status_code", 200}, {"operation", ""}, {"error_code", 0}, {"error", ""}};
  json::value metadata = parse_json(reply.metadata, path);
  if (reply.operation) {
    if (c.flag("wait")) {
      wait_for(c, *reply.operation);
      metadata = server.get(url({"operations", reply.operation->id()}));
    } else {
      envelope["type"] = "async";
      envelope["status"] = "Operation created";
      envelope["status_code"] = 100;
      envelope["operation"] = "/1.0/operations/" + reply.operation->id();
    }
  }
  if (c.flag("raw")) {
    envelope["metadata"] = metadata;
    say("{}\n\n", pretty_json(envelope, false));
  } else if (!metadata.is_null() && !(metadata.is_object() && metadata.get_object().empty())) {
    say("{}\n\n", pretty_json(metadata));
  }
  return 0;
}

} // namespace

Command query_command() {
  Command c;
  c.names = "query";
  c.usage = "[<remote>:]<API path>";
  c.brief = "Send a raw query to the server";
  c.least = c.most = 1;
  c.run = run;
  c.hidden = true;
  c.flags = {{Flag::toggle, "wait", 0, "", "Wait for the operation to complete"},
             {Flag::toggle, "raw", 0, "", "Print the raw response"},
             {Flag::text, "request", 'X', "GET", "Action"},
             {Flag::text, "data", 'd', "", "Input data"}};
  c.examples = R"(incus query /1.0/instances?recursion=1
incus query -X DELETE --wait /1.0/instances/c1
incus query -X PUT --wait -d '{"action": "start"}' /1.0/instances/c1/state)";
  return c;
}

} // namespace cli
