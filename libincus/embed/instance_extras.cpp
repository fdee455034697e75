// SPDX-License-Identifier: Apache-2.0
// What instances have besides their life: metadata and templates, logs and recorded output, changes of state of many at once.
#include <boost/json.hpp>
#include <sys/stat.h>
#include <thread>

#include "api/access.hpp"
#include "api/records.hpp"
#include "base/error.hpp"
#include "base/names.hpp"
#include "embed/certificates.hpp"
#include "embed/engine.hpp"
#include "embed/instance_urls.hpp"

namespace incus::embed {

namespace json = boost::json;

namespace {

api::Reply::Body body_of(const std::string &name, base::Fd fd) {
  api::Reply::Body b;
  b.name = name;
  struct stat st;
  if (::fstat(fd.get(), &st) == 0) b.size = st.st_size;
  b.fd = std::move(fd);
  return b;
}

api::Reply bytes(const std::string &name, base::Fd fd) {
  api::Reply r;
  r.bodies.push_back(body_of(name, std::move(fd)));
  return r;
}

std::int64_t seconds(Time t) { return std::chrono::duration_cast<std::chrono::seconds>(t.time_since_epoch()).count(); }

json::value nullable(const Config &c) { return c.empty() ? json::value(nullptr) : api::to_json(c); }

json::value to_json(const image::Metadata &m) {
  json::object templates;
  for (auto &[target, t] : m.templates) {
    json::object o{{"when", api::to_json(t.when)}, {"create_only", t.create_only}, {"template", t.source}, {"properties", nullable(t.properties)}};
    for (auto &[k, v] : {std::pair("uid", t.uid), std::pair("gid", t.gid), std::pair("mode", t.mode)})
      if (!v.empty()) o[k] = v;
    templates[target] = std::move(o);
  }
  return json::object{{"architecture", m.architecture},
                      {"creation_date", seconds(m.creation_date)},
                      {"expiry_date", seconds(m.expiry_date)},
                      {"properties", nullable(m.properties)},
                      {"templates", templates.empty() ? json::value(nullptr) : json::value(std::move(templates))}};
}

Time time_of(const json::value &v, const char *what) {
  auto n = api::from_json<std::int64_t>(v);
  if (n < 0 || n > 9'000'000'000) base::fail(ErrorCode::invalid_argument, "invalid {} {}: must be seconds since 1970, up to 9000000000", what, n);
  return Time(std::chrono::seconds(n));
}

image::Template template_of(const json::value &v, const std::string &target) {
  auto *o = v.if_object();
  if (!o) base::fail(ErrorCode::invalid_argument, "template {} must be an object", base::quoted(target));
  image::Template t;
  auto get = [&](const char *key, auto &to) {
    if (auto *f = o->if_contains(key)) api::from_json(*f, to, std::string("templates.") + target + "." + key);
  };
  get("when", t.when);
  get("create_only", t.create_only);
  get("template", t.source);
  get("properties", t.properties);
  get("uid", t.uid);
  get("gid", t.gid);
  get("mode", t.mode);
  return t;
}

/// What `body` says over `base`; maps are merged key by key.
image::Metadata merged(image::Metadata base, const json::value &body) {
  auto *o = body.if_object();
  if (!o) base::fail(ErrorCode::invalid_argument, "invalid metadata: must be an object");
  if (auto *v = o->if_contains("architecture")) base.architecture = api::from_json<std::string>(*v);
  if (auto *v = o->if_contains("creation_date")) base.creation_date = time_of(*v, "creation_date");
  if (auto *v = o->if_contains("expiry_date")) base.expiry_date = time_of(*v, "expiry_date");
  if (auto *v = o->if_contains("properties"))
    for (auto &[k, p] : api::from_json<Config>(*v)) base.properties[k] = p;
  if (auto *v = o->if_contains("templates"); v && !v->is_null()) {
    if (!v->is_object()) base::fail(ErrorCode::invalid_argument, "invalid templates: must be an object");
    for (auto &kv : v->get_object()) base.templates[std::string(kv.key())] = template_of(kv.value(), std::string(kv.key()));
  }
  return base;
}

std::string needed(const api::Request &q, const char *parameter) {
  auto it = q.query.find(parameter);
  if (it == q.query.end() || it->second.empty()) base::fail(ErrorCode::invalid_argument, "missing {} argument", parameter);
  return it->second;
}

} // namespace

api::Reply Engine::instance_metadata_get(api::Request &q) {
  auto m = to_json(instances_->metadata(q.project(), q.path[0]));
  auto tag = etag_of(m);
  return {std::move(m), tag, {}};
}

api::Reply Engine::instance_metadata_put(api::Request &q) {
  instances_->set_metadata(q.project(), q.path[0], [&](const image::Metadata &now) {
    check_match(q.if_match, etag_of(to_json(now)), "the metadata of instance " + base::quoted(q.path[0]));
    return merged({}, q.body);
  });
  return {};
}

api::Reply Engine::instance_metadata_patch(api::Request &q) {
  instances_->set_metadata(q.project(), q.path[0], [&](const image::Metadata &now) {
    check_match(q.if_match, etag_of(to_json(now)), "the metadata of instance " + base::quoted(q.path[0]));
    return merged(now, q.body);
  });
  return {};
}

api::Reply Engine::instance_templates_get(api::Request &q) {
  auto it = q.query.find("path");
  if (it != q.query.end() && !it->second.empty()) return bytes(it->second, instances_->open_template(q.project(), q.path[0], it->second));
  return {api::to_json(instances_->templates(q.project(), q.path[0])), {}, {}};
}

api::Reply Engine::instance_templates_post(api::Request &q) {
  instances_->write_template(q.project(), q.path[0], needed(q, "path"), q.stream("body"));
  return {};
}

api::Reply Engine::instance_templates_delete(api::Request &q) {
  instances_->remove_template(q.project(), q.path[0], needed(q, "path"));
  return {};
}

api::Reply Engine::instance_logs_get(api::Request &q) {
  json::array out;
  for (auto &f : instances_->logs().logs(instances_->store_of(q.project(), q.path[0]))) out.emplace_back(instance_url(q.project(), q.path[0] + "/logs/" + f));
  return {std::move(out), {}, {}};
}

api::Reply Engine::instance_log_get(api::Request &q) {
  return bytes(q.path[1], instances_->logs().open_log(instances_->store_of(q.project(), q.path[0]), q.path[1]));
}

api::Reply Engine::instance_log_delete(api::Request &q) {
  instances_->logs().remove_log(instances_->store_of(q.project(), q.path[0]), q.path[1]);
  events_.lifecycle("instance-log-deleted", instance_url(q.project(), q.path[0]), q.project(), {{"file", q.path[1]}});
  return {};
}

api::Reply Engine::exec_outputs_get(api::Request &q) {
  json::array out;
  for (auto &f : instances_->logs().outputs(instances_->store_of(q.project(), q.path[0])))
    out.emplace_back(instance_url(q.project(), q.path[0] + "/logs/exec-output/" + f));
  return {std::move(out), {}, {}};
}

api::Reply Engine::exec_output_get(api::Request &q) {
  auto r = bytes(q.path[1], instances_->logs().open_output(instances_->store_of(q.project(), q.path[0]), q.path[1]));
  events_.lifecycle("instance-log-retrieved", instance_url(q.project(), q.path[0]), q.project(), {{"file", q.path[1]}});
  return r;
}

api::Reply Engine::exec_output_delete(api::Request &q) {
  instances_->logs().remove_output(instances_->store_of(q.project(), q.path[0]), q.path[1]);
  events_.lifecycle("instance-log-deleted", instance_url(q.project(), q.path[0]), q.project(), {{"file", q.path[1]}});
  return {};
}

api::Reply Engine::instance_access_get(api::Request &q) {
  if (!q.from_admin()) api::forbid("the certificate is restricted to some projects");
  instances_->row(q.project(), q.path[0]);
  return {access_list(*global_, q.project()), {}, {}};
}

api::Reply Engine::instances_put(api::Request &q) {
  auto *o = q.body.if_object();
  auto *state = o ? o->if_contains("state") : nullptr;
  if (!state) base::fail(ErrorCode::invalid_argument, "no state was given: the body must be {{\"state\": {{\"action\": ...}}}}");
  auto c = api::from_json<InstanceStateChange>(*state);
  auto *description = state_change_description(c.action);
  OperationSpec s;
  s.description = description;
  s.project = q.project();
  std::vector<std::string> names;
  for (auto &i : instances_->list(q.project())) {
    bool fits = c.action == "start" ? i.status == "Stopped" : c.action == "unfreeze" ? i.status == "Frozen" : c.action == "freeze" ? i.status == "Running" : i.status != "Stopped";
    if (!fits) continue;
    s.resources["instances"].push_back(instance_url(s.project, i.name));
    names.push_back(i.name);
  }
  return async(std::move(s), [this, project = q.project(), names, c](TaskOperation &) {
    std::atomic<std::size_t> next{0};
    std::mutex mutex;
    std::map<std::size_t, std::string> failed;
    auto work = [&, who = WorksFor::now()] {
      WorksFor scope(who);
      for (std::size_t i; (i = next++) < names.size();) {
        try {
          instances_->change_state(project, names[i], c);
        } catch (const std::exception &e) {
          std::lock_guard lock(mutex);
          failed[i] = " - Instance: " + names[i] + ": " + e.what() + "\n";
        }
      }
    };
    // The wait is for guests that stop; what works for them is few.
    std::vector<std::thread> threads;
    try {
      while (threads.size() + 1 < std::min<std::size_t>(names.size(), 16)) threads.emplace_back(work);
    } catch (const std::system_error &) {
      // With fewer then.
    }
    work();
    for (auto &t : threads) t.join();
    if (failed.empty()) return;
    std::string text = "The following instances failed to update state:\n";
    for (auto &[i, line] : failed) text += line;
    base::fail(ErrorCode::internal, "{}", text);
  });
}

api::Reply Engine::instance_rebuild_post(api::Request &q) {
  auto *o = q.body.if_object();
  auto *v = o ? o->if_contains("source") : nullptr;
  auto source = v ? api::from_json<InstanceSource>(*v) : InstanceSource();
  auto name = q.path[0], project = q.project();
  if (!source.server.empty()) {
    check_source(source.server, source.protocol, source.mode);
    if (source.alias.empty() && source.fingerprint.empty()) base::fail(ErrorCode::invalid_argument, "an image on another server is named by its alias or fingerprint");
  }
  instances_->check_rebuild(project, name, source);
  auto spec = instance_operation(q, "Rebuilding instance", name);
  spec.may_cancel = !source.server.empty();
  return async(std::move(spec), [this, project, name, source, caller = q.caller](TaskOperation &op) mutable {
    if (!source.server.empty()) {
      auto fingerprint = image_for_instance(op, project, source, caller);
      source = {};
      source.type = "image";
      source.fingerprint = fingerprint;
    }
    instances_->rebuild(project, name, source, report_to(op));
  });
}

} // namespace incus::embed
