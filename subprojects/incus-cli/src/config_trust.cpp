// SPDX-License-Identifier: Apache-2.0
#include <fstream>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <sstream>

#include "object.hpp"

namespace cli {

namespace {

using Cert = std::unique_ptr<X509, decltype(&X509_free)>;

Cert read_certificate(const std::string &pem) {
  std::unique_ptr<BIO, decltype(&BIO_free)> in(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())), BIO_free);
  return Cert(PEM_read_bio_X509(in.get(), nullptr, nullptr, nullptr), X509_free);
}

std::string when(const ASN1_TIME *t) {
  tm parts{};
  if (!t || ASN1_TIME_to_tm(t, &parts) != 1) return {};
  char text[64];
  text[strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts)] = 0;
  return show_time(text);
}

std::string common_name(const json::value &c) {
  auto cert = read_certificate(str(c, "certificate"));
  if (!cert) return {};
  char name[256] = "";
  X509_NAME_get_text_by_NID(X509_get_subject_name(cert.get()), NID_commonName, name, sizeof name);
  return name;
}
std::string date(const json::value &c, bool expiry) {
  auto cert = read_certificate(str(c, "certificate"));
  return cert ? when(expiry ? X509_get0_notAfter(cert.get()) : X509_get0_notBefore(cert.get())) : "";
}

std::string base64(std::string_view bytes) {
  std::string out((bytes.size() + 2) / 3 * 4, 0);
  EVP_EncodeBlock(reinterpret_cast<unsigned char *>(out.data()), reinterpret_cast<const unsigned char *>(bytes.data()),
                  static_cast<int>(bytes.size()));
  return out;
}

/// The token as a client types it: the JSON document in base64.
std::string token_text(const json::value &t) { return base64(to_json(shaped(t, "CertificateAddToken"), "CertificateAddToken")); }

/// The token that a token operation stands for; null when it stands for something else.
json::value token_of(const json::value &operation) {
  auto &m = at(operation, "metadata");
  auto &request = at(m, "request");
  if (str(m, "secret").empty() || str(request, "name").empty()) return nullptr;
  json::object t;
  t["client_name"] = str(request, "name");
  t["fingerprint"] = at(m, "fingerprint");
  t["addresses"] = at(m, "addresses");
  t["secret"] = at(m, "secret");
  t["expires_at"] = at(m, "expiresAt").is_null() ? at(m, "expires_at") : at(m, "expiresAt");
  return t;
}

json::object request_of(Context &c, const std::string &name, const std::string &type) {
  json::object r{{"name", name}, {"type", type}, {"restricted", c.flag("restricted")}};
  if (auto p = c.text("projects"); !p.empty()) r["projects"] = json::value_from(split_text(p, ','));
  return r;
}

int add(Context &c) {
  auto t = c.target(c.args[0]);
  if (t.name.empty()) fail("A client name must be provided");
  auto r = request_of(c, t.name, "client");
  r["token"] = true;
  auto op = t.server->start("POST", url({"certificates"}), r);
  if (!op) fail("Failed converting token operation to certificate add token: the server gave none");
  auto document = json::object{{"metadata", metadata_of(op->info())}};
  auto token = token_of(document);
  if (token.is_null()) fail("Failed converting token operation to certificate add token: {}", json::serialize(document));
  if (!c.quiet()) say("Client {} certificate add token:\n", t.name);
  say("{}\n", token_text(token));
  return 0;
}

int add_certificate(Context &c) {
  auto type = c.text("type");
  if (type != "client" && type != "metrics") fail("Unknown certificate type \"{}\"", type);
  auto path = c.args.back();
  auto t = c.target(c.args.size() > 1 ? c.args[0] : "");
  std::string file = path == "-" ? "/dev/stdin" : path;
  std::ifstream in(file);
  if (!in) fail("Provided certificate path doesn't exist: {}", file);
  std::stringstream pem;
  pem << in.rdbuf();
  auto cert = read_certificate(pem.str());
  if (!cert) fail("Invalid certificate file");
  unsigned char *der = nullptr;
  int size = i2d_X509(cert.get(), &der);
  if (size < 0) fail("Invalid certificate file");
  std::string bytes(reinterpret_cast<char *>(der), static_cast<std::size_t>(size));
  OPENSSL_free(der);
  auto name = c.text("name").empty() ? file.substr(file.rfind('/') + 1) : c.text("name");
  auto r = request_of(c, name, type);
  r["certificate"] = base64(bytes);
  if (!c.text("description").empty()) r["description"] = c.text("description");
  t.server->send("POST", url({"certificates"}), r);
  return 0;
}

Object certificate(Context &c) {
  auto t = c.target(c.args[0]);
  if (t.name.empty()) fail("Missing certificate fingerprint");
  return {t.server, url({"certificates", t.name}), "Certificate", "CertificatePut", t.name};
}
int show(Context &c) {
  show_object(certificate(c));
  return 0;
}
int edit(Context &c) {
  edit_object(certificate(c),
              "The certificate's entry as YAML. Lines that start with # are ignored.\nThe fingerprint is shown and cannot be changed.");
  return 0;
}
int remove(Context &c) {
  auto t = c.target(c.args[0]);
  t.server->send("DELETE", url({"certificates", c.args.size() == 2 ? c.args[1] : t.name}));
  return 0;
}

int list(Context &c) {
  check_format(c.text("format"));
  static const std::vector<Column<json::value>> known = {
      {'n', "NAME", [](auto &r) { return str(r, "name"); }},
      {'t', "TYPE", [](auto &r) { return str(r, "type"); }},
      {'c', "COMMON NAME", [](auto &r) { return common_name(r); }},
      {'f', "FINGERPRINT", [](auto &r) { return str(r, "fingerprint").substr(0, 12); }},
      {'d', "DESCRIPTION", [](auto &r) { return str(r, "description"); }},
      {'i', "ISSUE DATE", [](auto &r) { return date(r, false); }},
      {'e', "EXPIRY DATE", [](auto &r) { return date(r, true); }},
      {'r', "RESTRICTED", [](auto &r) { return std::string(truth(r, "restricted") ? "yes" : "no"); }},
      {'p', "PROJECTS",
       [](auto &r) {
         auto p = strings_at(r, "projects");
         std::sort(p.begin(), p.end());
         return join(p, "\n");
       }},
  };
  auto columns = pick_columns(known, c.text("columns"));
  auto t = c.target_at(0);
  auto all = t.server->get(url({"certificates"}) + "?recursion=1");
  show_columns(c.text("format"), columns, all.as_array(), all, "[Certificate");
  return 0;
}

/// Tokens that can still be used, with the ids of their operations.
std::vector<std::pair<std::string, json::value>> tokens(Server &server) {
  server.use_project("default");
  std::vector<std::pair<std::string, json::value>> out;
  auto all = server.get(url({"operations"}) + "?recursion=1");
  if (all.is_object())
    for (auto &kind : all.get_object())
      if (kind.value().is_array())
        for (auto &op : kind.value().get_array()) {
          if (str(op, "class") != "token" || num(op, "status_code") != 103) continue;
          if (auto token = token_of(op); !token.is_null()) out.emplace_back(str(op, "id"), token);
        }
  return out;
}

int list_tokens(Context &c) {
  check_format(c.text("format"));
  static const std::vector<Column<json::value>> known = {
      {'n', "NAME", [](auto &r) { return str(r, "client_name"); }},
      {'t', "TOKEN", [](auto &r) { return token_text(r); }},
      {'E', "EXPIRES AT",
       [](auto &r) {
         auto e = show_time(str(r, "expires_at"));
         return e.empty() ? std::string(" ") : e;
       }},
  };
  auto columns = pick_columns(known, c.text("columns"));
  json::array all;
  for (auto &[id, token] : tokens(*c.target_at(0).server)) all.push_back(token);
  show_columns(c.text("format"), columns, all, all, "[CertificateAddToken");
  return 0;
}

int revoke(Context &c) {
  auto t = c.target(c.args[0]);
  for (auto &[id, token] : tokens(*t.server)) {
    if (str(token, "client_name") != t.name) continue;
    t.server->send("DELETE", url({"operations", id}));
    if (!c.quiet()) say("Certificate add token for {} deleted\n", t.name);
    return 0;
  }
  fail("No certificate add token for member {} on remote: {}", t.name, t.remote);
}

} // namespace

Command config_trust_command() {
  Command c;
  c.names = "trust";
  c.brief = "Manage trusted clients";
  const Flag restricted{Flag::toggle, "restricted", 0, "", "Restrict the certificate to one or more projects"};
  const Flag projects{Flag::text, "projects", 0, "", "List of projects to restrict the certificate to"};
  c.children = {
      {"add",
       "[<remote>:]<name>",
       "Add new trusted client",
       1,
       1,
       add,
       {restricted, projects},
       {},
       "Makes a token of one use; the client gives it to \"incus remote add\".",
       "incus config trust add laptop\nincus config trust add ci --restricted --projects ci,test"},
      {"add-certificate",
       "[<remote>:] <cert>",
       "Add new trusted client certificate",
       1,
       2,
       add_certificate,
       {restricted,
        projects,
        {Flag::text, "name", 0, "", "Alternative certificate name"},
        {Flag::text, "type", 0, "client", "Type of certificate"},
        {Flag::text, "description", 0, "", "Certificate description"}},
       {},
       "Types: client, metrics.",
       "incus config trust add-certificate metrics.crt --type metrics"},
      {"edit", "[<remote>:]<fingerprint>", "Edit trust configurations as YAML", 1, 1, edit},
      {"list ls",
       "[<remote>:]",
       "List trusted clients",
       0,
       1,
       list,
       {{Flag::text, "columns", 'c', "ntdfe", "Columns"}, format_flag},
       {},
       "Columns:\n  n - Name         f - Fingerprint   e - Expiry date\n  t - Type         d - Description   r - Restricted\n  c - Common name  i - "
       "Issue date    p - Projects"},
      {"list-tokens",
       "[<remote>:]",
       "List all active certificate add tokens",
       0,
       1,
       list_tokens,
       {{Flag::text, "columns", 'c', "ntE", "Columns"}, format_flag},
       {},
       "Columns: n - Name, t - Token, E - Expires at"},
      {"remove rm", "[<remote>:]<fingerprint>", "Remove trusted client", 1, 2, remove},
      {"revoke-token", "[<remote>:] <name>", "Revoke certificate add token", 1, 1, revoke},
      {"show", "[<remote>:]<fingerprint>", "Show trust configurations", 1, 1, show},
  };
  return c;
}

} // namespace cli
