// SPDX-License-Identifier: Apache-2.0
#include <fstream>
#include <netdb.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "object.hpp"

namespace cli {

namespace {

std::string from_base64(const std::string &text) {
  std::string clean;
  for (char c : text)
    if (!isspace(static_cast<unsigned char>(c))) clean += c;
  if (clean.empty() || clean.size() % 4) return {};
  std::string out(clean.size() / 4 * 3, 0);
  auto n = EVP_DecodeBlock(reinterpret_cast<unsigned char *>(out.data()), reinterpret_cast<const unsigned char *>(clean.data()),
                           static_cast<int>(clean.size()));
  if (n < 0) return {};
  auto pad = clean.ends_with("==") ? 2u : clean.ends_with("=") ? 1u : 0u;
  out.resize(static_cast<std::size_t>(n) - pad);
  return out;
}

/// What a token says; null when the text is none.
json::value token_of(const std::string &text) {
  auto document = from_base64(text);
  boost::system::error_code error;
  auto v = json::parse(document, error);
  if (error || !v.is_object() || str(v, "secret").empty() || str(v, "fingerprint").empty()) return nullptr;
  return v;
}

struct Address {
  std::string host, port, url;
};

/// "host", "host:port", "[::1]:8443", "https://host".
Address https_address(std::string text) {
  if (text.rfind("https://", 0) == 0) text.erase(0, 8);
  text = text.substr(0, text.find('/'));
  Address a;
  a.port = "8443";
  if (!text.empty() && text[0] == '[') {
    auto close = text.find(']');
    a.host = text.substr(1, close - 1);
    if (close != std::string::npos && close + 1 < text.size() && text[close + 1] == ':') a.port = text.substr(close + 2);
  } else if (std::count(text.begin(), text.end(), ':') == 1) {
    a.host = text.substr(0, text.find(':'));
    a.port = text.substr(text.find(':') + 1);
  } else {
    a.host = text;
  }
  a.url = fmt::format(fmt::runtime(a.host.find(':') == std::string::npos ? "https://{}:{}" : "https://[{}]:{}"), a.host, a.port);
  return a;
}

int connect_to(const Address &a) {
  addrinfo hints{}, *all = nullptr;
  hints.ai_socktype = SOCK_STREAM;
  if (int e = getaddrinfo(a.host.c_str(), a.port.c_str(), &hints, &all)) fail("Get \"{}\": {}", a.url, gai_strerror(e));
  int fd = -1;
  timeval patience{10, 0};
  for (auto *i = all; i && fd < 0; i = i->ai_next) {
    fd = socket(i->ai_family, i->ai_socktype | SOCK_CLOEXEC, i->ai_protocol);
    if (fd < 0) continue;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (connect(fd, i->ai_addr, i->ai_addrlen) != 0) {
      close(fd);
      fd = -1;
    }
  }
  auto why = errno;
  freeaddrinfo(all);
  if (fd < 0) fail("Get \"{}\": {}", a.url, strerror(why));
  return fd;
}

/// The certificate a server shows, for the user to judge; nothing else is exchanged.
std::string server_certificate_of(const Address &a) {
  int fd = connect_to(a);
  std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context(SSL_CTX_new(TLS_client_method()), SSL_CTX_free);
  std::unique_ptr<SSL, decltype(&SSL_free)> ssl(SSL_new(context.get()), SSL_free);
  SSL_set_verify(ssl.get(), SSL_VERIFY_NONE, nullptr);
  SSL_set_tlsext_host_name(ssl.get(), a.host.c_str());
  SSL_set_fd(ssl.get(), fd);
  std::string pem;
  if (SSL_connect(ssl.get()) == 1) {
    if (X509 *cert = SSL_get1_peer_certificate(ssl.get())) {
      std::unique_ptr<BIO, decltype(&BIO_free)> out(BIO_new(BIO_s_mem()), BIO_free);
      PEM_write_bio_X509(out.get(), cert);
      char *data = nullptr;
      auto size = BIO_get_mem_data(out.get(), &data);
      pem.assign(data, static_cast<std::size_t>(size));
      X509_free(cert);
    }
  }
  close(fd);
  if (pem.empty()) fail("Get \"{}\": the server shows no certificate: is this an incus server?", a.url);
  return pem;
}

void save_certificate(const Settings &s, const std::string &name, const std::string &pem) {
  s.make_directory("servercerts");
  std::ofstream out(s.file("servercerts/" + name + ".crt"), std::ios::trunc);
  out << pem;
  out.close();
  if (!out) fail("Failed to write the server's certificate to {}", s.file("servercerts/" + name + ".crt"));
}

bool accepted(const std::string &pem) {
  auto fingerprint = certificate_fingerprint(pem);
  say("Certificate fingerprint: {}\n", fingerprint);
  auto answer = lower(ask("ok (y/n/[fingerprint])? ", ""));
  if (answer == "y" || answer == "yes") return true;
  if (answer.size() >= 8 && fingerprint.rfind(answer, 0) == 0) return true;
  if (answer == "n" || answer == "no") return false;
  fail("The fingerprint provided doesn't match the server's: {}", fingerprint);
}

incus::Host open_remote(const Settings &s, const std::string &name, const std::string &url_text, const std::string &token) {
  s.make_client_certificate();
  return incus::Host::open(url_text, https_options(s, name, token));
}

/// Whether the server knows us already.
bool trusted(incus::Host &host) { return str(parse_json(host.request("GET", "/1.0"), "/1.0"), "auth") == "trusted"; }

void choose_project(Context &c, incus::Host &host, Remote &r) {
  if (!c.text("project").empty()) {
    r.project = c.text("project");
    return;
  }
  auto names = host.project_names();
  if (names.size() == 1 && names[0] != "default") r.project = names[0];
}

int add_by_token(Context &c, const std::string &name, const std::string &text, const json::value &token) {
  if (name.find('.') != std::string::npos && c.args.size() < 2) fail("A name for the remote is needed beside the token");
  std::string last = "the token names no address";
  for (auto &address : strings_at(token, "addresses")) {
    auto a = https_address(address);
    try {
      auto pem = server_certificate_of(a);
      if (certificate_fingerprint(pem) != lower(str(token, "fingerprint"))) {
        last = fmt::format("certificate fingerprint mismatch between certificate token and server \"{}\"", address);
        continue;
      }
      save_certificate(c.settings, name, pem);
      auto host = open_remote(c.settings, name, a.url, text);
      Remote r;
      r.address = a.url;
      r.auth_type = "tls";
      choose_project(c, host, r);
      c.settings.remotes[name] = r;
      c.settings.save();
      if (!c.quiet()) say("Client certificate now trusted by server: {}\n", name);
      return 0;
    } catch (const std::exception &e) {
      last = e.what();
    }
  }
  unlink(c.settings.server_certificate(name).c_str());
  fail("All server addresses are unavailable: {}", last);
}

int add_unix(Context &c, const std::string &name, std::string path) {
  if (path.rfind("unix:", 0) == 0) path.erase(0, 5);
  while (path.rfind("//", 0) == 0) path.erase(0, 1);
  Remote r;
  r.address = path == "/" || path.empty() ? "unix://" : "unix://" + path;
  auto host = incus::Host::open(path == "/" || path.empty() ? "unix://" + local_socket() : r.address);
  r.auth_type = "tls";
  choose_project(c, host, r);
  c.settings.remotes[name] = r;
  c.settings.save();
  return 0;
}

int add(Context &c) {
  auto name = c.args[0], where = c.args.back();
  if (name.find(':') != std::string::npos && c.args.size() > 1) fail("Remote names may not contain colons");
  if (auto it = c.settings.remotes.find(name); it != c.settings.remotes.end()) fail("Remote {} exists as <{}>", name, it->second.address);
  auto protocol = c.text("protocol");
  if (auto token = token_of(where); !token.is_null()) return add_by_token(c, name, where, token);
  if (name.find(':') != std::string::npos) fail("Remote names may not contain colons");
  if (protocol == "simplestreams") {
    if (where.rfind("https://", 0) != 0) fail("Only https URLs are supported for simplestreams");
    Remote r;
    r.address = where;
    r.is_public = true;
    r.protocol = protocol;
    c.settings.remotes[name] = r;
    c.settings.save();
    return 0;
  }
  if (!protocol.empty() && protocol != "incus") fail("Invalid protocol: {}", protocol);
  if (!c.text("auth-type").empty() && c.text("auth-type") != "tls") fail("This program can only make itself known by certificate: --auth-type=tls");
  auto scheme = where.find("://");
  if (where.rfind("unix:", 0) == 0 || where[0] == '/') return add_unix(c, name, where);
  if (scheme != std::string::npos && where.substr(0, scheme) != "https") fail("Invalid URL scheme \"{}\" in \"{}\"", where.substr(0, scheme), where);
  auto a = https_address(where);
  auto pem = server_certificate_of(a);
  if (!c.flag("accept-certificate") && c.text("token").empty() && !accepted(pem)) fail("Server certificate NACKed by user");
  if (auto t = token_of(c.text("token")); !t.is_null() && certificate_fingerprint(pem) != lower(str(t, "fingerprint")))
    fail("certificate fingerprint mismatch between certificate token and server \"{}\"", where);
  save_certificate(c.settings, name, pem);
  try {
    std::optional<incus::Host> host(open_remote(c.settings, name, a.url, ""));
    Remote r;
    r.address = a.url;
    r.auth_type = "tls";
    if (c.flag("public")) {
      r.is_public = true;
      r.auth_type.clear();
    } else if (!trusted(*host)) {
      auto token = c.text("token");
      if (token.empty()) token = ask(fmt::format("Trust token for {}: ", name), "");
      host.reset();
      host.emplace(open_remote(c.settings, name, a.url, token));
      if (!trusted(*host)) fail("Server doesn't trust us after authentication");
      if (!c.quiet()) say("Client certificate now trusted by server: {}\n", name);
    }
    if (!r.is_public) choose_project(c, *host, r);
    c.settings.remotes[name] = r;
    c.settings.save();
  } catch (...) {
    unlink(c.settings.server_certificate(name).c_str());
    throw;
  }
  return 0;
}

struct Row {
  std::string name;
  Remote remote;
  bool current;
};

int list(Context &c) {
  check_format(c.text("format"));
  static const std::vector<Column<Row>> known = {
      {'n', "NAME", [](const Row &r) { return r.name + (r.current ? " (current)" : ""); }},
      {'u', "URL", [](const Row &r) { return r.remote.address; }},
      {'p', "PROTOCOL", [](const Row &r) { return r.remote.protocol; }},
      {'a', "AUTH TYPE",
       [](const Row &r) {
         if (r.remote.address.rfind("unix:", 0) == 0) return std::string("file access");
         return r.remote.protocol == "simplestreams" || r.remote.is_public ? std::string("none")
                : r.remote.auth_type.empty()                               ? std::string("tls")
                                                                           : r.remote.auth_type;
       }},
      {'P', "PUBLIC", [](const Row &r) { return std::string(r.remote.is_public ? "YES" : "NO"); }},
      {'s', "STATIC", [](const Row &r) { return std::string(r.remote.is_static ? "YES" : "NO"); }},
      {'g', "GLOBAL", [](const Row &r) { return std::string(r.remote.is_global ? "YES" : "NO"); }},
  };
  auto columns = pick_columns(known, c.text("columns"));
  std::vector<Row> rows;
  bool yaml = c.text("format").rfind("yaml", 0) == 0;
  json::object raw;
  for (auto &[name, r] : c.settings.remotes) {
    rows.push_back({name, r, name == c.settings.default_remote});
    json::object o;
    if (yaml)
      o = {{"addr", r.address},    {"auth_type", r.auth_type}, {"keepalive", r.keepalive},
           {"project", r.project}, {"protocol", r.protocol},   {"public", r.is_public}};
    else
      o = {{"Addr", r.address},      {"AuthType", r.auth_type}, {"KeepAlive", r.keepalive}, {"Project", r.project},
           {"Protocol", r.protocol}, {"Public", r.is_public},   {"Global", r.is_global},    {"Static", r.is_static}};
    raw[name] = o;
  }
  show_columns(c.text("format"), columns, rows, raw, yaml ? "{RemoteEntry" : "{RemoteFacts");
  return 0;
}

Remote &changeable(Context &c, const std::string &name, const char *what) {
  auto it = c.settings.remotes.find(name);
  if (it == c.settings.remotes.end()) fail("Remote {} doesn't exist", name);
  if (it->second.is_static) fail("Remote {} is static and cannot be {}", name, what);
  if (it->second.is_global) fail("Remote {} is global and cannot be {}", name, what);
  return it->second;
}

int rename(Context &c) {
  auto r = changeable(c, c.args[0], "modified");
  if (c.settings.remotes.count(c.args[1])) fail("Remote {} already exists", c.args[1]);
  c.settings.make_directory("servercerts");
  ::rename(c.settings.server_certificate(c.args[0]).c_str(), c.settings.file("servercerts/" + c.args[1] + ".crt").c_str());
  c.settings.remotes.erase(c.args[0]);
  c.settings.remotes[c.args[1]] = r;
  if (c.settings.default_remote == c.args[0]) c.settings.default_remote = c.args[1];
  c.settings.save();
  return 0;
}

int remove(Context &c) {
  for (auto &name : c.args) {
    changeable(c, name, "modified");
    if (c.settings.default_remote == name) fail("Can't remove the default remote");
    unlink(c.settings.server_certificate(name).c_str());
    c.settings.remotes.erase(name);
  }
  c.settings.save();
  return 0;
}

int switch_to(Context &c) {
  auto name = c.args[0];
  if (!name.empty() && name.back() == ':') name.pop_back();
  if (!c.settings.remotes.count(name)) fail("Remote {} doesn't exist", name);
  c.settings.default_remote = name;
  c.settings.save();
  return 0;
}

int set_url(Context &c) {
  changeable(c, c.args[0], "modified").address = c.args[1];
  c.settings.save();
  return 0;
}

} // namespace

Command remote_command() {
  Command c;
  c.names = "remote";
  c.brief = "Manage the list of remote servers";
  c.children = {
      {"add",
       "[<remote>] <IP|FQDN|URL|token>",
       "Add new remote servers",
       1,
       2,
       add,
       {{Flag::toggle, "accept-certificate", 0, "", "Accept certificate"},
        {Flag::text, "token", 0, "", "Remote trust token"},
        {Flag::text, "protocol", 0, "", "Server protocol (incus or simplestreams)"},
        {Flag::text, "auth-type", 0, "", "Server authentication type (tls or oidc)"},
        {Flag::toggle, "public", 0, "", "Public image server"},
        {Flag::text, "project", 0, "", "Project to use for the remote"}},
       {},
       "A token is made on the server by \"incus config trust add NAME\".",
       "incus remote add farm 192.0.2.7\nincus remote add farm TOKEN\nincus remote add other unix:///srv/incus/unix.socket"},
      {"generate-certificate", "", "Generate the client certificate", 0, 0,
       [](Context &x) {
         if (access(x.settings.file("client.crt").c_str(), F_OK) == 0 && access(x.settings.file("client.key").c_str(), F_OK) == 0)
           fail("A client certificate is already present");
         if (!x.quiet()) print_error("Generating a client certificate. This may take a minute...\n");
         x.settings.make_client_certificate();
         return 0;
       }},
      {"get-default", "", "Show the default remote", 0, 0,
       [](Context &x) {
         say("{}\n", x.settings.default_remote);
         return 0;
       }},
      {"list ls",
       "",
       "List the available remotes",
       0,
       0,
       list,
       {{Flag::text, "columns", 'c', "nupaPsg", "Columns"}, format_flag},
       {},
       "Columns:\n  n - Name       a - Authentication   s - Static\n  u - URL        P - Public           g - Global\n  p - Protocol"},
      {"remove rm", "<remote>", "Remove remotes", 1, -1, remove},
      {"rename mv", "<remote> <new-name>", "Rename remotes", 2, 2, rename},
      {"set-url", "<remote> <URL>", "Set the URL for the remote", 2, 2, set_url},
      {"switch set-default", "<remote>", "Switch the default remote", 1, 1, switch_to},
  };
  return c;
}

} // namespace cli
