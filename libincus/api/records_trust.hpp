// SPDX-License-Identifier: Apache-2.0
// Records of certificates, projects and server configuration.
#pragma once
#include "api/records.hpp"

namespace incus::api {

struct ServerUpdate {
  Config config;
};
struct ProjectUpdate {
  Config config;
  std::string description;
};
struct ProjectCreate {
  Config config;
  std::string description;
  std::string name;
};

/// A certificate of the trust store.
struct CertificateInfo {
  std::string name, type;
  bool restricted = false;
  std::vector<std::string> projects;
  std::string certificate, description, fingerprint;
};
struct CertificateUpdate {
  std::string name, type;
  bool restricted = false;
  std::vector<std::string> projects;
  std::string certificate, description;
};
struct CertificateCreate {
  std::string name, type;
  bool restricted = false;
  std::vector<std::string> projects;
  std::string certificate, description; ///< here base64 of DER, or PEM
  std::string trust_token;              ///< of a client that is not trusted yet
  bool token = false;                   ///< asks for one
};

template <> struct Record<ServerUpdate> {
  static constexpr auto fields = std::make_tuple(field("config", &ServerUpdate::config));
};
template <> struct Record<ProjectUpdate> {
  using T = ProjectUpdate;
  static constexpr auto fields = std::make_tuple(field("config", &T::config), field("description", &T::description));
};
template <> struct Record<ProjectCreate> {
  using T = ProjectCreate;
  static constexpr auto fields = std::make_tuple(field("config", &T::config), field("description", &T::description), field("name", &T::name));
};
template <> struct Record<CertificateInfo> {
  using T = CertificateInfo;
  static constexpr auto fields =
      std::make_tuple(field("name", &T::name), field("type", &T::type), field("restricted", &T::restricted), field("projects", &T::projects),
                      field("certificate", &T::certificate), field("description", &T::description), field("fingerprint", &T::fingerprint));
};
template <> struct Record<CertificateUpdate> {
  using T = CertificateUpdate;
  static constexpr auto fields = std::make_tuple(field("name", &T::name), field("type", &T::type), field("restricted", &T::restricted),
                                                 field("projects", &T::projects), field("certificate", &T::certificate), field("description", &T::description));
};
template <> struct Record<CertificateCreate> {
  using T = CertificateCreate;
  static constexpr auto fields =
      std::make_tuple(field("name", &T::name), field("type", &T::type), field("restricted", &T::restricted), field("projects", &T::projects),
                      field("certificate", &T::certificate), field("description", &T::description), field("trust_token", &T::trust_token), field("token", &T::token));
};

} // namespace incus::api
