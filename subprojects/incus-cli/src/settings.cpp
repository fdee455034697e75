// SPDX-License-Identifier: Apache-2.0
#include "settings.hpp"

#include <cstdlib>
#include <fcntl.h>
#include <fstream>
#include <memory>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <pwd.h>
#include <sstream>
#include <sys/stat.h>
#include <unistd.h>
#include <yaml-cpp/yaml.h>

#include "output.hpp"

namespace cli {

namespace {

std::string env(const char *name) {
  auto *v = getenv(name);
  return v ? v : "";
}

bool exists(const std::string &path) { return access(path.c_str(), F_OK) == 0; }

std::string text_of(const YAML::Node &node, const char *key) {
  auto n = node[key];
  return n && n.IsScalar() ? n.Scalar() : std::string();
}

void read_remotes(const YAML::Node &document, Settings &to, bool global) {
  auto remotes = document["remotes"];
  if (!remotes || !remotes.IsMap()) return;
  for (auto entry : remotes) {
    auto name = entry.first.Scalar();
    if (global && to.remotes.count(name)) continue;
    Remote r;
    r.address = text_of(entry.second, "addr");
    r.auth_type = text_of(entry.second, "auth_type");
    r.project = text_of(entry.second, "project");
    if (auto protocol = text_of(entry.second, "protocol"); !protocol.empty()) r.protocol = protocol;
    r.keepalive = std::atoi(text_of(entry.second, "keepalive").c_str());
    r.is_public = text_of(entry.second, "public") == "true";
    r.is_global = global;
    if (!r.is_public && r.auth_type.empty()) r.auth_type = "tls";
    to.remotes[name] = std::move(r);
  }
}

} // namespace

std::string state_directory() {
  auto dir = env("INCUS_DIR");
  return dir.empty() ? "/var/lib/incus" : dir;
}

std::string local_socket() {
  if (auto path = env("INCUS_SOCKET"); !path.empty()) return path;
  std::string path = state_directory() + "/unix.socket";
  if (env("INCUS_DIR").empty() && exists("/run/incus/unix.socket")) path = "/run/incus/unix.socket";
  // The socket of a user without the rights of an administrator.
  if (exists(path + ".user") && access(path.c_str(), W_OK) != 0) return path + ".user";
  return path;
}

Settings Settings::load() {
  Settings s;
  s.directory = env("INCUS_CONF");
  if (s.directory.empty()) {
    auto home = env("HOME");
    if (home.empty() || !exists(home)) {
      auto *user = getpwuid(getuid());
      home = user && user->pw_dir && exists(user->pw_dir) ? user->pw_dir : "";
    }
    if (!home.empty()) s.directory = home + "/.config/incus";
  }
  try {
    if (!s.directory.empty() && exists(s.file("config.yml"))) {
      s.existed = true;
      auto document = YAML::LoadFile(s.file("config.yml"));
      if (auto name = text_of(document, "default-remote"); !name.empty()) s.default_remote = name;
      read_remotes(document, s, false);
      if (auto aliases = document["aliases"]; aliases && aliases.IsMap())
        for (auto a : aliases) s.aliases[a.first.Scalar()] = a.second.IsScalar() ? a.second.Scalar() : "";
      auto shared = env("INCUS_GLOBAL_CONF").empty() ? "/etc/incus" : env("INCUS_GLOBAL_CONF");
      if (exists(shared + "/config.yml")) read_remotes(YAML::LoadFile(shared + "/config.yml"), s, true);
    } else {
      Remote images;
      images.address = "https://images.linuxcontainers.org";
      images.protocol = "simplestreams";
      images.is_public = true;
      s.remotes["images"] = images;
    }
  } catch (const YAML::Exception &e) {
    fail("Failed to load configuration: Unable to decode the configuration: {}", e.what());
  }
  Remote local;
  local.address = "unix://";
  local.is_static = true;
  local.project = s.remotes["local"].project;
  s.remotes["local"] = local;
  if (auto name = env("INCUS_REMOTE"); !name.empty()) s.default_remote = name;
  return s;
}

void Settings::make_directory(const std::string &below) const {
  std::string made;
  for (auto &part : split_text(directory + (below.empty() ? "" : "/" + below), '/')) {
    made += part + "/";
    mkdir(made.c_str(), 0750);
  }
}

void Settings::save() const {
  if (directory.empty()) return;
  make_directory();
  json::object all, list, words;
  for (auto &[name, r] : remotes) {
    if (r.is_global || (r.is_static && name != "local")) continue;
    json::object o;
    o["addr"] = r.address;
    if (!r.auth_type.empty()) o["auth_type"] = r.auth_type;
    if (r.keepalive) o["keepalive"] = r.keepalive;
    if (!r.project.empty()) o["project"] = r.project;
    if (!r.protocol.empty()) o["protocol"] = r.protocol;
    o["public"] = r.is_public;
    list[name] = std::move(o);
  }
  for (auto &[name, text] : aliases) words[name] = text;
  all["default-remote"] = default_remote;
  all["remotes"] = std::move(list);
  all["aliases"] = std::move(words);
  auto text = to_yaml(all, "Settings");
  auto path = file("config.yml"), next = path + ".new";
  std::ofstream out(next, std::ios::trunc);
  out << text;
  out.close();
  if (!out || rename(next.c_str(), path.c_str()) != 0) fail("Unable to write the configuration: {}", path);
}

std::string Settings::server_certificate(const std::string &name) const {
  auto it = remotes.find(name);
  if (it != remotes.end() && it->second.is_global) {
    auto shared = env("INCUS_GLOBAL_CONF").empty() ? "/etc/incus" : env("INCUS_GLOBAL_CONF");
    return shared + "/servercerts/" + name + ".crt";
  }
  return file("servercerts/" + name + ".crt");
}

const Remote &Settings::remote(const std::string &name) const {
  auto it = remotes.find(name);
  if (it == remotes.end()) fail("The remote \"{}\" doesn't exist", name);
  return it->second;
}

std::string certificate_fingerprint(const std::string &pem) {
  std::unique_ptr<BIO, decltype(&BIO_free)> in(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())), BIO_free);
  std::unique_ptr<X509, decltype(&X509_free)> cert(PEM_read_bio_X509(in.get(), nullptr, nullptr, nullptr), X509_free);
  if (!cert) return {};
  unsigned char sum[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  if (!X509_digest(cert.get(), EVP_sha256(), sum, &size)) return {};
  std::string out;
  for (unsigned i = 0; i < size; i++) out += fmt::format("{:02x}", sum[i]);
  return out;
}

namespace {

void write_secret(const std::string &path, mode_t mode, const std::function<bool(BIO *)> &write) {
  int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
  if (fd < 0) fail("Unable to write {}: {}", path, strerror(errno));
  std::unique_ptr<BIO, decltype(&BIO_free)> out(BIO_new_fd(fd, BIO_CLOSE), BIO_free);
  if (!write(out.get())) fail("Unable to write {}", path);
}

void add_extension(X509 *cert, int nid, const char *value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, cert, cert, nullptr, nullptr, 0);
  if (auto *e = X509V3_EXT_conf_nid(nullptr, &context, nid, value)) {
    X509_add_ext(cert, e, -1);
    X509_EXTENSION_free(e);
  }
}

} // namespace

void Settings::make_client_certificate() const {
  if (directory.empty()) fail("No directory for the client's configuration: set INCUS_CONF or HOME");
  if (exists(file("client.crt")) && exists(file("client.key"))) return;
  make_directory();
  std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> key(EVP_EC_gen("P-384"), EVP_PKEY_free);
  std::unique_ptr<X509, decltype(&X509_free)> cert(X509_new(), X509_free);
  if (!key || !cert) fail("Failed to generate the client certificate");
  X509_set_version(cert.get(), 2);
  unsigned char serial[16];
  RAND_bytes(serial, sizeof serial);
  serial[0] &= 0x7f;
  BIGNUM *number = BN_bin2bn(serial, sizeof serial, nullptr);
  BN_to_ASN1_INTEGER(number, X509_get_serialNumber(cert.get()));
  BN_free(number);
  X509_gmtime_adj(X509_getm_notBefore(cert.get()), 0);
  X509_gmtime_adj(X509_getm_notAfter(cert.get()), 10L * 365 * 24 * 3600);
  char host[256] = "unknown";
  gethostname(host, sizeof host - 1);
  auto *user = getpwuid(getuid());
  auto name = fmt::format("{}@{}", user ? user->pw_name : "unknown", host);
  auto *subject = X509_get_subject_name(cert.get());
  auto entry = [&](const char *field, const std::string &value) {
    X509_NAME_add_entry_by_txt(subject, field, MBSTRING_UTF8, reinterpret_cast<const unsigned char *>(value.c_str()), -1, -1, 0);
  };
  entry("O", "Linux Containers");
  entry("CN", name);
  X509_set_issuer_name(cert.get(), subject);
  X509_set_pubkey(cert.get(), key.get());
  add_extension(cert.get(), NID_key_usage, "critical,digitalSignature,keyEncipherment");
  add_extension(cert.get(), NID_ext_key_usage, "clientAuth");
  add_extension(cert.get(), NID_basic_constraints, "critical,CA:FALSE");
  if (!X509_sign(cert.get(), key.get(), EVP_sha384())) fail("Failed to sign the client certificate");
  write_secret(file("client.key"), 0600,
               [&](BIO *out) { return PEM_write_bio_PrivateKey(out, key.get(), nullptr, nullptr, 0, nullptr, nullptr) == 1; });
  write_secret(file("client.crt"), 0644, [&](BIO *out) { return PEM_write_bio_X509(out, cert.get()) == 1; });
}

} // namespace cli
