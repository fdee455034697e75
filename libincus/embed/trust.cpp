// SPDX-License-Identifier: Apache-2.0
// The trust store: certificates, and the tokens by which a client adds its own.
#include <algorithm>
#include <boost/json.hpp>
#include <fstream>

#include "api/access.hpp"
#include "api/records_trust.hpp"
#include "base/error.hpp"
#include "base/ids.hpp"
#include "base/names.hpp"
#include "base/time.hpp"
#include "db/certificates.hpp"
#include "db/projects.hpp"
#include "embed/certificates.hpp"
#include "embed/config_keys.hpp"
#include "embed/engine.hpp"

namespace incus::embed {

namespace json = boost::json;
using db::CertificateType;

namespace {

std::string url(const std::string &fingerprint) { return "/1.0/certificates/" + fingerprint; }

const char *type_name(CertificateType t) { return t == CertificateType::metrics ? "metrics" : t == CertificateType::server ? "server" : "client"; }

CertificateType type_of(const std::string &name) {
  if (name == "client") return CertificateType::client;
  if (name == "metrics") return CertificateType::metrics;
  if (name == "server") base::fail(ErrorCode::not_supported, "certificates of type \"server\" belong to members of a cluster, which this server is not");
  base::fail(ErrorCode::invalid_argument, "unknown certificate type {}: must be client or metrics", base::quoted(name));
}

api::CertificateInfo to_info(const db::CertificateRow &r) { return {r.name, type_name(r.type), r.restricted, r.projects, r.certificate, r.description, r.fingerprint}; }
Etag etag(const db::CertificateRow &r) { return etag_of(api::to_json(to_info(r))); }

bool is_own(const api::Request &q, const std::string &fingerprint) {
  return q.caller && q.caller->kind == api::Caller::Kind::trusted && q.caller->name == fingerprint;
}

/// The certificate that a request names. A restricted caller knows of its own only: others answer as if they did not matter whether they exist.
db::CertificateRow wanted(db::Connection &c, const api::Request &q) {
  auto &prefix = q.path[0];
  if (!q.from_admin() && (prefix.empty() || !q.caller->name.starts_with(prefix))) api::forbid("the certificate is restricted and may only see itself");
  return db::certificate(c, q.from_admin() ? prefix : q.caller->name);
}

void check_name(const std::string &name) {
  if (name.size() > 255 || !base::is_one_line(name)) base::fail(ErrorCode::invalid_argument, "invalid certificate name {}: must be one line of at most 255 bytes", base::quoted(name));
}

/// The parts of a token's text that matter here; empty when it is not one.
std::string secret_of(const std::string &token) {
  try {
    auto v = api::parse_json(from_base64(token), "token");
    auto *secret = v.as_object().if_contains("secret");
    return secret && secret->is_string() ? std::string(secret->get_string()) : "";
  } catch (const std::exception &) {
    return {};
  }
}

std::string host_of(const std::string &address) {
  auto colon = address.rfind(':');
  auto host = colon == std::string::npos ? address : address.substr(0, colon);
  return host.size() > 1 && host.front() == '[' && host.back() == ']' ? host.substr(1, host.size() - 2) : host;
}

} // namespace

std::pair<std::string, std::string> Engine::server_certificate() {
  if (!directory_) return {};
  std::lock_guard lock(certificate_mutex_);
  if (certificate_.first.empty()) {
    std::ifstream file(directory_->path() + "/server.crt");
    std::string pem{std::istreambuf_iterator<char>(file), {}};
    if (!pem.empty()) certificate_ = {pem, certificate_fingerprint(pem)};
  }
  return certificate_;
}

api::Reply Engine::certificates_get(api::Request &q) {
  json::array out;
  for (auto &r : db::certificates(*global_)) {
    if (!q.from_admin() && !is_own(q, r.fingerprint)) continue;
    if (q.recursion() == 0)
      out.emplace_back(url(r.fingerprint));
    else
      out.push_back(api::to_json(to_info(r)));
  }
  return {std::move(out), {}, {}};
}

/// Ends the operation that lists a token.
void Engine::end_token(const std::shared_ptr<TaskOperation> &op) {
  operations_->end(op, std::make_exception_ptr(Error(ErrorCode::cancelled, "the token was used, revoked or ran out")));
}

api::Reply Engine::make_token(const api::Request &q) {
  auto r = api::from_json<api::CertificateCreate>(q.body);
  if (type_of(r.type) != CertificateType::client) base::fail(ErrorCode::invalid_argument, "tokens can only be made for certificates of type client");
  auto config = server_config();
  auto https = config.find("core.https_address");
  if (https == config.end()) base::fail(ErrorCode::invalid_argument, "cannot make a token: the server does not listen on the network; set core.https_address first");
  auto now = base::now();
  for (auto &old : tokens_.expired(now)) end_token(old.operation);
  auto secret = base::random_hex(32);
  Tokens::Token token;
  token.request = api::to_json(r);
  OperationSpec s;
  s.class_ = "token";
  s.description = "Adding a client by token";
  s.may_cancel = true;
  s.metadata["secret"] = secret;
  s.metadata["fingerprint"] = server_certificate().second;
  s.metadata["addresses"] = api::to_json(listen_addresses(https->second));
  s.metadata["request"] = token.request;
  if (auto span = config.find("core.remote_token_expiry"); span != config.end()) {
    token.expires = time_after(now, span->second);
    if (token.expires) s.metadata["expiresAt"] = base::format_time(*token.expires);
  }
  auto key = etag_of(json::value(secret));
  api::Reply reply;
  reply.operation = operations_->hold(std::move(s), [&](TaskOperation &op) {
    op.on_cancel = [this, key] {
      if (auto t = tokens_.take(key)) end_token(t->operation);
    };
    token.operation = op.shared_from_this();
    tokens_.add(key, std::move(token));
  });
  return reply;
}

/// What the token of a client that is not trusted yet stands for; the client may not choose anything itself.
json::value Engine::spend_token(const std::string &text) {
  auto secret = secret_of(text);
  auto token = secret.empty() ? std::nullopt : tokens_.take(etag_of(json::value(secret)));
  if (!token) api::forbid("the trust token is not known, or was used already: ask for a new one");
  end_token(token->operation);
  if (token->expires && *token->expires < base::now()) api::forbid("the trust token has expired: ask for a new one");
  return token->request;
}

api::Reply Engine::certificates_post(api::Request &q) {
  auto r = api::from_json<api::CertificateCreate>(q.body);
  if (r.token && !r.certificate.empty()) base::fail(ErrorCode::invalid_argument, "a certificate cannot be given where a token is asked for");
  if (q.from_trusted() && r.certificate.empty() && !r.token) base::fail(ErrorCode::invalid_argument, "Client is already trusted");
  if (!q.from_admin()) {
    if (r.token || r.trust_token.empty()) api::forbid(q.from_trusted() ? "the certificate is restricted to some projects" : "the client is not trusted");
    if (q.caller->certificate.empty()) base::fail(ErrorCode::invalid_argument, "no client certificate was shown: connect with one to have it trusted");
    // Looked at before the token is spent.
    check_trustable(parse_certificate(q.caller->certificate));
    auto from_token = api::from_json<api::CertificateCreate>(spend_token(r.trust_token));
    from_token.certificate.clear();
    r = std::move(from_token);
  } else if (r.token) {
    check_name(r.name);
    for (auto &p : r.projects) db::project_id(*global_, p);
    return make_token(q);
  }
  auto x = parse_certificate(r.certificate.empty() ? q.caller->certificate : r.certificate);
  check_trustable(x);
  db::CertificateRow row;
  row.type = type_of(r.type);
  row.fingerprint = x.fingerprint;
  row.certificate = x.pem;
  row.name = !r.name.empty() ? r.name : !x.common_name.empty() ? x.common_name : q.caller ? host_of(q.caller->address) : "client";
  check_name(row.name);
  row.description = r.description;
  row.restricted = r.restricted;
  row.projects = r.projects;
  global_->transaction([&] { db::insert_certificate(*global_, row); });
  trust_generation_++;
  events_.lifecycle("certificate-created", url(row.fingerprint), "default");
  api::Reply reply;
  reply.location = url(row.fingerprint);
  reply.status = 201;
  return reply;
}

api::Reply Engine::certificate_get(api::Request &q) {
  auto r = wanted(*global_, q);
  return {api::to_json(to_info(r)), etag(r), {}};
}

void Engine::change_certificate(api::Request &q, const std::function<void(api::CertificateUpdate &)> &change) {
  std::string fingerprint;
  global_->transaction([&] {
    auto row = wanted(*global_, q);
    fingerprint = row.fingerprint;
    check_match(q.if_match, etag(row), "certificate " + row.fingerprint.substr(0, 12));
    api::CertificateUpdate to{row.name, type_name(row.type), row.restricted, row.projects, row.certificate, row.description};
    change(to);
    if (to.certificate.empty()) to.certificate = row.certificate;
    if (!q.from_admin() && (to.name != row.name || to.type != type_name(row.type) || to.restricted != row.restricted || to.projects != row.projects ||
                            to.description != row.description))
      api::forbid("a restricted certificate may replace itself, but its name, type, description and rights are not its own to change");
    check_name(to.name);
    row.type = type_of(to.type);
    row.name = to.name;
    row.restricted = to.restricted;
    row.projects = to.projects;
    row.description = to.description;
    if (to.certificate != row.certificate) {
      auto x = parse_certificate(to.certificate);
      if (x.fingerprint != row.fingerprint) check_trustable(x);
      row.certificate = x.pem;
      row.fingerprint = x.fingerprint;
    }
    db::update_certificate(*global_, row);
  });
  trust_generation_++;
  events_.lifecycle("certificate-updated", url(fingerprint), "default");
}

api::Reply Engine::certificate_put(api::Request &q) {
  auto to = api::from_json<api::CertificateUpdate>(q.body);
  change_certificate(q, [&](api::CertificateUpdate &now) { now = to; });
  return {};
}

api::Reply Engine::certificate_patch(api::Request &q) {
  auto patch = api::from_json<api::CertificateUpdate>(q.body);
  auto &o = fields_of(q);
  change_certificate(q, [&](api::CertificateUpdate &now) {
    if (o.contains("name")) now.name = patch.name;
    if (o.contains("type")) now.type = patch.type;
    if (o.contains("restricted")) now.restricted = patch.restricted;
    if (o.contains("projects")) now.projects = patch.projects;
    if (o.contains("certificate")) now.certificate = patch.certificate;
    if (o.contains("description")) now.description = patch.description;
  });
  return {};
}

api::Reply Engine::certificate_delete(api::Request &q) {
  std::string fingerprint;
  global_->transaction([&] {
    auto r = wanted(*global_, q);
    fingerprint = r.fingerprint;
    db::delete_certificate(*global_, r.id);
  });
  trust_generation_++;
  events_.lifecycle("certificate-deleted", url(fingerprint), "default");
  return {};
}

json::array access_list(db::Connection &c, const std::string &project) {
  json::array out;
  for (auto &r : db::certificates(c)) {
    if (r.type == CertificateType::server) continue;
    bool named = std::find(r.projects.begin(), r.projects.end(), project) != r.projects.end();
    if (r.restricted && !named) continue;
    const char *role = r.type == CertificateType::metrics ? "view" : r.restricted ? "operator" : "admin";
    out.push_back({{"identifier", r.fingerprint}, {"role", role}, {"provider", "tls"}});
  }
  return out;
}

api::Reply Engine::project_access_get(api::Request &q) {
  if (!q.from_admin()) api::forbid("the certificate is restricted to some projects");
  db::project(*global_, q.path[0]);
  return {access_list(*global_, q.path[0]), {}, {}};
}

} // namespace incus::embed
