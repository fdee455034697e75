// SPDX-License-Identifier: Apache-2.0
#include "object.hpp"

namespace cli {

namespace {

int rank(const std::string &level) {
  static const std::map<std::string, int> ranks = {{"panic", 0},   {"fatal", 1}, {"crit", 1},  {"error", 2}, {"eror", 2}, {"warn", 3},
                                                   {"warning", 3}, {"info", 4},  {"debug", 5}, {"dbug", 5},  {"trace", 6}};
  auto it = ranks.find(lower(level));
  if (it == ranks.end()) fail("not a valid logrus Level: \"{}\"", level);
  return it->second;
}

std::string quoted_if_needed(const std::string &t) {
  bool plain = !t.empty() && std::all_of(t.begin(), t.end(), [](unsigned char c) { return isalnum(c) || strchr("-._/@^+", c); });
  return plain ? t : json::serialize(json::string(t));
}

/// One line: level, time, message and what belongs to it; coloured on a terminal only.
std::string pretty(const incus::Event &e, const json::value &metadata, int most) {
  std::string level = "info", message;
  std::map<std::string, std::string> context;
  if (e.type == "logging") {
    level = str(metadata, "level");
    message = str(metadata, "message");
    for (auto &c : object_at(metadata, "context")) context[c.key()] = str(at(metadata, "context"), c.key());
  } else if (e.type == "lifecycle") {
    message = fmt::format("Action: {}, Source: {}", str(metadata, "action"), str(metadata, "source"));
    for (auto &c : object_at(metadata, "context")) context[c.key()] = str(at(metadata, "context"), c.key());
    if (auto &r = at(metadata, "requestor"); r.is_object())
      message += fmt::format(", Requestor: {}/{} ({})", str(r, "protocol"), str(r, "username"), str(r, "address"));
  } else {
    message = fmt::format("ID: {}, Class: {}, Description: {}", str(metadata, "id"), str(metadata, "class"), str(metadata, "description"));
    context = {{"CreatedAt", str(metadata, "created_at")},
               {"Err", str(metadata, "err")},
               {"Location", str(metadata, "location")},
               {"MayCancel", truth(metadata, "may_cancel") ? "true" : "false"},
               {"Metadata", json::serialize(at(metadata, "metadata"))},
               {"Resources", json::serialize(at(metadata, "resources"))},
               {"Status", str(metadata, "status")},
               {"StatusCode", str(metadata, "status")},
               {"UpdatedAt", str(metadata, "updated_at")}};
  }
  auto level_rank = rank(level);
  if (level_rank > most) return {};
  static const char *const names[] = {"PANIC", "FATAL", "ERROR", "WARNING", "INFO", "DEBUG", "TRACE"};
  auto when = std::chrono::system_clock::to_time_t(std::chrono::time_point_cast<std::chrono::system_clock::duration>(e.timestamp));
  tm parts{};
  gmtime_r(&when, &parts);
  char stamp[64];
  stamp[strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%SZ", &parts)] = 0;
  bool tty = is_terminal(1);
  int colour = level_rank <= 2 ? 31 : level_rank == 3 ? 33 : level_rank == 4 ? 36 : 37;
  std::string name = names[level_rank];
  name.resize(7, ' ');
  if (!tty) {
    auto out = fmt::format("time=\"{}\" level={} msg={}", stamp, lower(names[level_rank]), quoted_if_needed(message));
    for (auto &[k, v] : context) out += fmt::format(" {}={}", k, quoted_if_needed(v));
    return out + "\n";
  }
  auto out = fmt::format("\033[{}m{}\033[0m[{}] {:<44} ", colour, name, stamp, message);
  for (auto &[k, v] : context) out += fmt::format(" \033[{}m{}\033[0m={}", colour, k, quoted_if_needed(v));
  return out + "\n";
}

std::string rfc3339(incus::Time t) {
  auto ns = std::chrono::duration_cast<std::chrono::nanoseconds>(t.time_since_epoch()).count();
  time_t seconds = ns / 1000000000;
  tm parts{};
  gmtime_r(&seconds, &parts);
  char stamp[64];
  stamp[strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &parts)] = 0;
  auto fraction = fmt::format("{:09}", ns % 1000000000);
  while (!fraction.empty() && fraction.back() == '0') fraction.pop_back();
  return std::string(stamp) + (fraction.empty() ? "" : "." + fraction) + "Z";
}

int run(Context &c) {
  auto format = c.flag("pretty") ? "pretty" : c.text("format");
  if (format != "json" && format != "pretty" && format != "yaml") fail("Invalid format: {}", format);
  if (format != "pretty" && !c.text("loglevel").empty()) fail("Log level filtering can only be used with pretty formatting");
  int most = c.text("loglevel").empty() ? 5 : rank(c.text("loglevel"));
  auto &server = *c.target_at(0).server;
  auto project = server.project().empty() ? "default" : server.project();
  auto listener = server.host().listen(c.list("type"), 4096);
  for (int idle = 0;; idle++) {
    auto event = listener.next(std::chrono::milliseconds(500));
    if (listener.overflowed()) print_error("Events came faster than they were printed; some are missing\n");
    if (!event) {
      if (idle % 20 == 19) server.get("/1.0"); // throws when the server has gone
      continue;
    }
    idle = 0;
    // Events without a project concern the server.
    if (!c.flag("all-projects") && !event->project.empty() && event->project != project) continue;
    auto metadata = parse_json(event->metadata.text, "the event's metadata");
    if (format == "pretty") {
      print(pretty(*event, metadata, most));
      continue;
    }
    json::object o;
    if (!event->location.empty()) o["location"] = event->location;
    o["metadata"] = metadata;
    if (!event->project.empty()) o["project"] = event->project;
    o["timestamp"] = rfc3339(event->timestamp);
    o["type"] = event->type;
    print((format == "yaml" ? to_yaml(o) : to_json(o)) + "\n\n");
  }
}

} // namespace

Command monitor_command() {
  Command c;
  c.names = "monitor";
  c.usage = "[<remote>:]";
  c.brief = "Monitor a local or remote server";
  c.most = 1;
  c.run = run;
  c.hidden = true;
  c.flags = {{Flag::toggle, "pretty", 0, "", "Pretty rendering (short for --format=pretty)"},
             {Flag::toggle, "all-projects", 0, "", "Show events from all projects"},
             {Flag::list, "type", 0, "", "Event type to listen for"},
             {Flag::text, "loglevel", 0, "", "Minimum level for log messages (only available when using pretty format)"},
             {Flag::text, "format", 'f', "yaml", "Format (json|pretty|yaml)"}};
  c.examples = "incus monitor --type=lifecycle\nincus monitor --pretty --type=logging --loglevel=info";
  return c;
}

} // namespace cli
