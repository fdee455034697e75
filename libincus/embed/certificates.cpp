// SPDX-License-Identifier: Apache-2.0
#include "embed/certificates.hpp"

#include <arpa/inet.h>
#include <cstring>
#include <ifaddrs.h>
#include <memory>
#include <net/if.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "base/error.hpp"
#include "base/time.hpp"

namespace incus::embed {

namespace {

template <auto F> struct Free {
  template <class T> void operator()(T *p) const { F(p); }
};
using X509Ptr = std::unique_ptr<X509, Free<X509_free>>;
using BioPtr = std::unique_ptr<BIO, Free<BIO_free_all>>;

/// OpenSSL keeps errors by thread: the next caller of this thread must not find ours.
struct NoErrorsLeft {
  ~NoErrorsLeft() { ERR_clear_error(); }
};

Time time_of(const ASN1_TIME *t) {
  tm parts{};
  if (ASN1_TIME_to_tm(t, &parts) != 1) return {};
  // Years that our clock cannot hold stand at its ends.
  auto seconds = ::timegm(&parts);
  return Time(std::chrono::seconds(std::min<std::time_t>(std::max<std::time_t>(seconds, 0), 9000000000)));
}

constexpr std::size_t most = 64 * 1024;

X509Ptr read(std::string_view text) {
  if (text.size() > most) base::fail(ErrorCode::too_large, "a certificate must be at most {} bytes long", most);
  if (text.find("-----BEGIN") != std::string_view::npos) {
    BioPtr in(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
    X509Ptr x(PEM_read_bio_X509(in.get(), nullptr, nullptr, nullptr));
    if (!x) base::fail(ErrorCode::invalid_argument, "invalid certificate: the PEM text holds no X.509 certificate");
    return x;
  }
  auto der = from_base64(text);
  auto *p = reinterpret_cast<const unsigned char *>(der.data());
  X509Ptr x(d2i_X509(nullptr, &p, static_cast<long>(der.size())));
  if (!x) base::fail(ErrorCode::invalid_argument, "invalid certificate: must be PEM, or base64 of an X.509 certificate in DER form");
  return x;
}

std::string digest(X509 *x) {
  unsigned char d[EVP_MAX_MD_SIZE];
  unsigned n = 0;
  X509_digest(x, EVP_sha256(), d, &n);
  std::string out;
  for (unsigned i = 0; i < n; i++) out += fmt::format("{:02x}", d[i]);
  return out;
}

} // namespace

Certificate parse_certificate(std::string_view text) {
  NoErrorsLeft clean;
  auto x = read(text);
  Certificate c;
  BioPtr out(BIO_new(BIO_s_mem()));
  PEM_write_bio_X509(out.get(), x.get());
  char *data = nullptr;
  auto size = BIO_get_mem_data(out.get(), &data);
  c.pem.assign(data, static_cast<std::size_t>(size));
  c.fingerprint = digest(x.get());
  auto *subject = X509_get_subject_name(x.get());
  if (int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1); at >= 0) {
    unsigned char *utf8 = nullptr;
    int n = ASN1_STRING_to_UTF8(&utf8, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
    if (n > 0) c.common_name.assign(reinterpret_cast<char *>(utf8), static_cast<std::size_t>(n));
    OPENSSL_free(utf8);
  }
  c.not_before = time_of(X509_get0_notBefore(x.get()));
  c.not_after = time_of(X509_get0_notAfter(x.get()));
  if (auto *key = X509_get0_pubkey(x.get()); key && EVP_PKEY_is_a(key, "RSA")) c.rsa_bits = EVP_PKEY_get_bits(key);
  return c;
}

void check_trustable(const Certificate &c) {
  auto now = base::now();
  if (now < c.not_before)
    base::fail(ErrorCode::invalid_argument, "the certificate is not valid before {}: check the clocks of both machines", base::format_time(c.not_before));
  if (now > c.not_after) base::fail(ErrorCode::invalid_argument, "the certificate expired at {}: make a new one", base::format_time(c.not_after));
  if (c.rsa_bits && c.rsa_bits < 2048)
    base::fail(ErrorCode::invalid_argument, "the certificate's RSA key has {} bits: at least 2048 are needed, make a new one", c.rsa_bits);
}

std::string certificate_fingerprint(std::string_view pem) {
  NoErrorsLeft clean;
  return digest(read(pem).get());
}

std::string base64(std::string_view bytes) {
  std::string out((bytes.size() + 2) / 3 * 4 + 1, '\0');
  int n = EVP_EncodeBlock(reinterpret_cast<unsigned char *>(out.data()), reinterpret_cast<const unsigned char *>(bytes.data()), static_cast<int>(bytes.size()));
  out.resize(static_cast<std::size_t>(n));
  return out;
}

std::string from_base64(std::string_view text) {
  std::string in;
  for (char ch : text)
    if (!std::strchr(" \t\r\n", ch)) in += ch;
  if (in.size() > most) base::fail(ErrorCode::too_large, "base64 text must be at most {} bytes long", most);
  // Some writers leave the padding out.
  while (in.size() % 4) in += '=';
  std::string out(in.size() / 4 * 3 + 1, '\0');
  int n = EVP_DecodeBlock(reinterpret_cast<unsigned char *>(out.data()), reinterpret_cast<const unsigned char *>(in.data()), static_cast<int>(in.size()));
  ERR_clear_error();
  std::size_t padding = in.ends_with("==") ? 2 : in.ends_with("=") ? 1 : 0;
  if (n < 0 || static_cast<std::size_t>(n) < padding || in.empty()) base::fail(ErrorCode::invalid_argument, "invalid base64 text");
  out.resize(static_cast<std::size_t>(n) - padding);
  return out;
}

namespace {
std::string host_port(const std::string &host, const std::string &port) {
  return (host.find(':') == std::string::npos ? host : "[" + host + "]") + ":" + port;
}

/// Addresses that other machines could use.
std::vector<std::string> global_addresses(bool v4, bool v6) {
  std::vector<std::string> out;
  ifaddrs *list = nullptr;
  if (::getifaddrs(&list) != 0) return out;
  std::unique_ptr<ifaddrs, Free<::freeifaddrs>> owner(list);
  for (auto *i = list; i; i = i->ifa_next) {
    if (!i->ifa_addr || (i->ifa_flags & IFF_LOOPBACK)) continue;
    char text[INET6_ADDRSTRLEN];
    if (i->ifa_addr->sa_family == AF_INET && v4) {
      auto &a = reinterpret_cast<sockaddr_in *>(i->ifa_addr)->sin_addr;
      if ((ntohl(a.s_addr) >> 16) == 0xa9fe) continue; // link-local
      if (::inet_ntop(AF_INET, &a, text, sizeof text)) out.emplace_back(text);
    } else if (i->ifa_addr->sa_family == AF_INET6 && v6) {
      auto &a = reinterpret_cast<sockaddr_in6 *>(i->ifa_addr)->sin6_addr;
      if (IN6_IS_ADDR_LINKLOCAL(&a) || IN6_IS_ADDR_LOOPBACK(&a)) continue;
      if (::inet_ntop(AF_INET6, &a, text, sizeof text)) out.emplace_back(text);
    }
  }
  return out;
}
} // namespace

std::vector<std::string> listen_addresses(const std::string &configured) {
  if (configured.empty()) return {};
  std::string host = configured, port = "8443";
  in6_addr plain;
  if (host.starts_with('[')) {
    auto end = host.find(']');
    if (end == std::string::npos) return {};
    if (auto colon = host.find(':', end); colon != std::string::npos) port = host.substr(colon + 1);
    host = host.substr(1, end - 1);
  } else if (::inet_pton(AF_INET6, host.c_str(), &plain) != 1) {
    if (auto colon = host.rfind(':'); colon != std::string::npos) {
      port = host.substr(colon + 1);
      host = host.substr(0, colon);
    }
  }
  bool v4 = host.empty() || host == "::" || host == "0.0.0.0", v6 = host.empty() || host == "::";
  if (!v4) return {host_port(host, port)};
  std::vector<std::string> out;
  for (auto &a : global_addresses(v4, v6)) out.push_back(host_port(a, port));
  return out;
}

} // namespace incus::embed
