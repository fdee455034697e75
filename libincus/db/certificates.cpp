// SPDX-License-Identifier: Apache-2.0
#include "db/certificates.hpp"

#include <algorithm>
#include <map>

#include "base/error.hpp"
#include "base/names.hpp"

namespace incus::db {

std::vector<CertificateRow> certificates(Connection &c) {
  std::vector<CertificateRow> out;
  std::lock_guard lock(c.mutex());
  c.query("SELECT id, fingerprint, name, certificate, description, type, restricted FROM certificates ORDER BY fingerprint", {}, [&](const Row &r) {
    CertificateRow x;
    x.id = r.number(0);
    x.fingerprint = r.text(1);
    x.name = r.text(2);
    x.certificate = r.text(3);
    x.description = r.text(4);
    x.type = static_cast<CertificateType>(r.number(5));
    x.restricted = r.flag(6);
    out.push_back(std::move(x));
  });
  std::map<std::int64_t, CertificateRow *> by_id;
  for (auto &x : out) by_id[x.id] = &x;
  if (!out.empty())
    c.query("SELECT cp.certificate_id, p.name FROM certificates_projects cp JOIN projects p ON p.id = cp.project_id ORDER BY p.name", {}, [&](const Row &r) {
      if (auto it = by_id.find(r.number(0)); it != by_id.end()) it->second->projects.push_back(r.text(1));
    });
  return out;
}

CertificateRow certificate(Connection &c, const std::string &prefix) {
  std::vector<CertificateRow> found;
  if (!prefix.empty())
    for (auto &x : certificates(c))
      if (x.fingerprint.starts_with(prefix)) found.push_back(std::move(x));
  if (found.empty()) base::fail(ErrorCode::not_found, "certificate {} not found", base::quoted(prefix));
  if (found.size() > 1) base::fail(ErrorCode::conflict, "the fingerprints of {} certificates begin with {}: give more of it", found.size(), base::quoted(prefix));
  return std::move(found[0]);
}

namespace {
void insert_projects(Connection &c, std::int64_t id, const std::vector<std::string> &projects) {
  for (auto &p : projects) c.exec("INSERT OR IGNORE INTO certificates_projects (certificate_id, project_id) VALUES (?, ?)", {id, project_id(c, p)});
}

void check_new(Connection &c, const std::string &fingerprint) {
  c.query("SELECT name FROM certificates WHERE fingerprint = ?", {fingerprint},
          [&](const Row &r) { base::fail(ErrorCode::already_exists, "certificate {} is in the trust store already, as {}", fingerprint.substr(0, 12), base::quoted(r.text(0))); });
}
} // namespace

void insert_certificate(Connection &c, const CertificateRow &r) {
  check_new(c, r.fingerprint);
  c.exec("INSERT INTO certificates (fingerprint, type, name, certificate, restricted, description) VALUES (?, ?, ?, ?, ?, ?)",
         {r.fingerprint, static_cast<std::int64_t>(r.type), r.name, r.certificate, std::int64_t(r.restricted), r.description});
  insert_projects(c, c.last_id(), r.projects);
}

void update_certificate(Connection &c, const CertificateRow &r) {
  std::string before;
  c.query("SELECT fingerprint FROM certificates WHERE id = ?", {r.id}, [&](const Row &row) { before = row.text(0); });
  if (before != r.fingerprint) check_new(c, r.fingerprint);
  c.exec("UPDATE certificates SET fingerprint = ?, type = ?, name = ?, certificate = ?, restricted = ?, description = ? WHERE id = ?",
         {r.fingerprint, static_cast<std::int64_t>(r.type), r.name, r.certificate, std::int64_t(r.restricted), r.description, r.id});
  c.exec("DELETE FROM certificates_projects WHERE certificate_id = ?", {r.id});
  insert_projects(c, r.id, r.projects);
}

void delete_certificate(Connection &c, std::int64_t id) { c.exec("DELETE FROM certificates WHERE id = ?", {id}); }

} // namespace incus::db
