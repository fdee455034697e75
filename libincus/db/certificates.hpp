// SPDX-License-Identifier: Apache-2.0
// The trust store.
#pragma once
#include "db/records.hpp"

namespace incus::db {

enum class CertificateType { client = 1, server = 2, metrics = 3 };

struct CertificateRow {
  std::int64_t id = 0;
  std::string fingerprint, name, certificate, description;
  CertificateType type = CertificateType::client;
  bool restricted = false;
  std::vector<std::string> projects;
};
std::vector<CertificateRow> certificates(Connection &c);
/// By the beginning of its fingerprint; throws not_found, or conflict when several begin so.
CertificateRow certificate(Connection &c, const std::string &prefix);
void insert_certificate(Connection &c, const CertificateRow &r); ///< throws already_exists, not_found for a project
/// Everything, the fingerprint included.
void update_certificate(Connection &c, const CertificateRow &r);
void delete_certificate(Connection &c, std::int64_t id);

} // namespace incus::db
