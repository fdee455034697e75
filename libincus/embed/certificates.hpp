// SPDX-License-Identifier: Apache-2.0
// X.509 facts that the trust store needs, and where the server can be reached.
#pragma once
#include <boost/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include <incus/types.hpp>

namespace incus::db {
class Connection;
}

namespace incus::embed {

struct Certificate {
  std::string pem;         ///< as written by us
  std::string fingerprint; ///< SHA-256 of the DER form, hexadecimal
  std::string common_name;
  Time not_before, not_after;
  int rsa_bits = 0;        ///< 0: not RSA
};

/// PEM, or base64 of DER. Throws invalid_argument.
Certificate parse_certificate(std::string_view text);
/// Throws invalid_argument when it cannot be trusted: expired, not yet good, a short RSA key.
void check_trustable(const Certificate &c);
/// Of the first certificate in a PEM text.
std::string certificate_fingerprint(std::string_view pem);

/// What core.https_address means to others: ADDRESS:PORT, once for every address of the machine when it is a wildcard.
std::vector<std::string> listen_addresses(const std::string &configured);

/// Who may use a project, as .../access shows it.
boost::json::array access_list(db::Connection &c, const std::string &project);

std::string base64(std::string_view bytes);
std::string from_base64(std::string_view text); ///< throws invalid_argument

} // namespace incus::embed
