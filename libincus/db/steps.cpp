// SPDX-License-Identifier: Apache-2.0
// The schema, step by step. A step that has been in a release never changes. Tables and columns carry the names that tools
// for Incus read; projects and members (nodes) are there from the first step.
#include "db/connection.hpp"

namespace incus::db {

namespace {

constexpr const char *global_1 = R"sql(
CREATE TABLE schema (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, version INTEGER NOT NULL UNIQUE, updated_at DATETIME NOT NULL);
CREATE TABLE config (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, key TEXT NOT NULL UNIQUE, value TEXT);
CREATE TABLE nodes (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, name TEXT NOT NULL UNIQUE, description TEXT NOT NULL DEFAULT '',
  address TEXT NOT NULL UNIQUE, schema INTEGER NOT NULL DEFAULT 0, api_extensions INTEGER NOT NULL DEFAULT 0,
  heartbeat DATETIME, state INTEGER NOT NULL DEFAULT 0, arch INTEGER NOT NULL DEFAULT 0);
CREATE TABLE projects (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, name TEXT NOT NULL UNIQUE, description TEXT NOT NULL DEFAULT '');
CREATE TABLE projects_config (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, project_id INTEGER NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
  key TEXT NOT NULL, value TEXT, UNIQUE (project_id, key));
CREATE TABLE profiles (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, name TEXT NOT NULL, description TEXT NOT NULL DEFAULT '',
  project_id INTEGER NOT NULL REFERENCES projects (id) ON DELETE CASCADE, UNIQUE (project_id, name));
CREATE TABLE profiles_config (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, profile_id INTEGER NOT NULL REFERENCES profiles (id) ON DELETE CASCADE,
  key TEXT NOT NULL, value TEXT, UNIQUE (profile_id, key));
CREATE TABLE profiles_devices (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, profile_id INTEGER NOT NULL REFERENCES profiles (id) ON DELETE CASCADE,
  name TEXT NOT NULL, type TEXT NOT NULL DEFAULT '', UNIQUE (profile_id, name));
CREATE TABLE profiles_devices_config (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
  profile_device_id INTEGER NOT NULL REFERENCES profiles_devices (id) ON DELETE CASCADE, key TEXT NOT NULL, value TEXT, UNIQUE (profile_device_id, key));
CREATE TABLE storage_pools (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, name TEXT NOT NULL UNIQUE, driver TEXT NOT NULL,
  description TEXT NOT NULL DEFAULT '', state INTEGER NOT NULL DEFAULT 0);
CREATE TABLE storage_pools_nodes (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
  storage_pool_id INTEGER NOT NULL REFERENCES storage_pools (id) ON DELETE CASCADE, node_id INTEGER NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
  state INTEGER NOT NULL DEFAULT 0, UNIQUE (storage_pool_id, node_id));
CREATE TABLE storage_pools_config (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
  storage_pool_id INTEGER NOT NULL REFERENCES storage_pools (id) ON DELETE CASCADE, node_id INTEGER REFERENCES nodes (id) ON DELETE CASCADE,
  key TEXT NOT NULL, value TEXT, UNIQUE (storage_pool_id, node_id, key));
CREATE TABLE images (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, fingerprint TEXT NOT NULL, filename TEXT NOT NULL, size INTEGER NOT NULL,
  public INTEGER NOT NULL DEFAULT 0, architecture INTEGER NOT NULL, creation_date DATETIME, expiry_date DATETIME, upload_date DATETIME NOT NULL,
  cached INTEGER NOT NULL DEFAULT 0, last_use_date DATETIME, auto_update INTEGER NOT NULL DEFAULT 0, type INTEGER NOT NULL DEFAULT 0,
  project_id INTEGER NOT NULL REFERENCES projects (id) ON DELETE CASCADE, UNIQUE (project_id, fingerprint));
CREATE TABLE images_properties (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, image_id INTEGER NOT NULL REFERENCES images (id) ON DELETE CASCADE,
  type INTEGER NOT NULL DEFAULT 0, key TEXT NOT NULL, value TEXT, UNIQUE (image_id, key));
CREATE TABLE images_aliases (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, name TEXT NOT NULL,
  image_id INTEGER NOT NULL REFERENCES images (id) ON DELETE CASCADE, description TEXT NOT NULL DEFAULT '',
  project_id INTEGER NOT NULL REFERENCES projects (id) ON DELETE CASCADE, UNIQUE (project_id, name));
CREATE TABLE images_nodes (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, image_id INTEGER NOT NULL REFERENCES images (id) ON DELETE CASCADE,
  node_id INTEGER NOT NULL REFERENCES nodes (id) ON DELETE CASCADE, UNIQUE (image_id, node_id));
CREATE TABLE images_profiles (image_id INTEGER NOT NULL REFERENCES images (id) ON DELETE CASCADE,
  profile_id INTEGER NOT NULL REFERENCES profiles (id) ON DELETE CASCADE, UNIQUE (image_id, profile_id));
CREATE TABLE instances (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, node_id INTEGER NOT NULL REFERENCES nodes (id) ON DELETE CASCADE,
  name TEXT NOT NULL, architecture INTEGER NOT NULL, type INTEGER NOT NULL DEFAULT 0, ephemeral INTEGER NOT NULL DEFAULT 0,
  creation_date DATETIME NOT NULL, stateful INTEGER NOT NULL DEFAULT 0, last_use_date DATETIME, description TEXT NOT NULL DEFAULT '',
  project_id INTEGER NOT NULL REFERENCES projects (id) ON DELETE CASCADE, expiry_date DATETIME, UNIQUE (project_id, name));
CREATE TABLE instances_config (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, instance_id INTEGER NOT NULL REFERENCES instances (id) ON DELETE CASCADE,
  key TEXT NOT NULL, value TEXT, UNIQUE (instance_id, key));
CREATE TABLE instances_devices (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, instance_id INTEGER NOT NULL REFERENCES instances (id) ON DELETE CASCADE,
  name TEXT NOT NULL, type TEXT NOT NULL DEFAULT '', UNIQUE (instance_id, name));
CREATE TABLE instances_devices_config (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
  instance_device_id INTEGER NOT NULL REFERENCES instances_devices (id) ON DELETE CASCADE, key TEXT NOT NULL, value TEXT, UNIQUE (instance_device_id, key));
CREATE TABLE instances_profiles (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, instance_id INTEGER NOT NULL REFERENCES instances (id) ON DELETE CASCADE,
  profile_id INTEGER NOT NULL REFERENCES profiles (id), apply_order INTEGER NOT NULL DEFAULT 0, UNIQUE (instance_id, profile_id));
CREATE INDEX instances_profiles_profile_idx ON instances_profiles (profile_id);
CREATE INDEX instances_config_key_idx ON instances_config (key, value);
)sql";

constexpr const char *global_2 = R"sql(
CREATE TABLE instances_snapshots (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, instance_id INTEGER NOT NULL REFERENCES instances (id) ON DELETE CASCADE,
  name TEXT NOT NULL, creation_date DATETIME NOT NULL, stateful INTEGER NOT NULL DEFAULT 0, description TEXT NOT NULL DEFAULT '',
  expiry_date DATETIME, architecture INTEGER NOT NULL DEFAULT 0, ephemeral INTEGER NOT NULL DEFAULT 0, profiles TEXT NOT NULL DEFAULT '[]',
  UNIQUE (instance_id, name));
CREATE TABLE instances_snapshots_config (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
  instance_snapshot_id INTEGER NOT NULL REFERENCES instances_snapshots (id) ON DELETE CASCADE, key TEXT NOT NULL, value TEXT, UNIQUE (instance_snapshot_id, key));
CREATE TABLE instances_snapshots_devices (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
  instance_snapshot_id INTEGER NOT NULL REFERENCES instances_snapshots (id) ON DELETE CASCADE, name TEXT NOT NULL, type TEXT NOT NULL DEFAULT '',
  UNIQUE (instance_snapshot_id, name));
CREATE TABLE instances_snapshots_devices_config (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
  instance_snapshot_device_id INTEGER NOT NULL REFERENCES instances_snapshots_devices (id) ON DELETE CASCADE, key TEXT NOT NULL, value TEXT,
  UNIQUE (instance_snapshot_device_id, key));
)sql";

constexpr const char *global_3 = R"sql(
CREATE TABLE storage_volumes (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, name TEXT NOT NULL,
  storage_pool_id INTEGER NOT NULL REFERENCES storage_pools (id) ON DELETE CASCADE, node_id INTEGER REFERENCES nodes (id) ON DELETE CASCADE,
  type INTEGER NOT NULL, description TEXT NOT NULL DEFAULT '', project_id INTEGER NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
  content_type INTEGER NOT NULL DEFAULT 0, creation_date DATETIME NOT NULL, UNIQUE (storage_pool_id, node_id, project_id, name, type));
CREATE TABLE storage_volumes_config (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
  storage_volume_id INTEGER NOT NULL REFERENCES storage_volumes (id) ON DELETE CASCADE, key TEXT NOT NULL, value TEXT, UNIQUE (storage_volume_id, key));
CREATE TABLE storage_volumes_snapshots (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
  storage_volume_id INTEGER NOT NULL REFERENCES storage_volumes (id) ON DELETE CASCADE, name TEXT NOT NULL, description TEXT NOT NULL DEFAULT '',
  expiry_date DATETIME, creation_date DATETIME NOT NULL, UNIQUE (storage_volume_id, name));
INSERT INTO storage_volumes (name, storage_pool_id, node_id, type, project_id, creation_date)
  SELECT i.name, p.id, i.node_id, 0, i.project_id, i.creation_date FROM instances i
    JOIN instances_devices d ON d.instance_id = i.id
    JOIN instances_devices_config a ON a.instance_device_id = d.id AND a.key = 'path' AND a.value = '/'
    JOIN instances_devices_config b ON b.instance_device_id = d.id AND b.key = 'pool'
    JOIN storage_pools p ON p.name = b.value;
)sql";

// Trust and warnings; the tables of networks and buckets that tools for Incus count rows in.
constexpr const char *global_4 = R"sql(
CREATE TABLE certificates (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, fingerprint TEXT NOT NULL UNIQUE, type INTEGER NOT NULL, name TEXT NOT NULL,
  certificate TEXT NOT NULL, restricted INTEGER NOT NULL DEFAULT 0, description TEXT NOT NULL DEFAULT '');
CREATE TABLE certificates_projects (certificate_id INTEGER NOT NULL REFERENCES certificates (id) ON DELETE CASCADE,
  project_id INTEGER NOT NULL REFERENCES projects (id) ON DELETE CASCADE, UNIQUE (certificate_id, project_id));
CREATE TABLE warnings (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, node_id INTEGER REFERENCES nodes (id) ON DELETE CASCADE,
  project_id INTEGER REFERENCES projects (id) ON DELETE CASCADE, entity_type_code INTEGER, entity_id INTEGER, uuid TEXT NOT NULL UNIQUE,
  type_code INTEGER NOT NULL, status INTEGER NOT NULL, first_seen_date DATETIME NOT NULL, last_seen_date DATETIME NOT NULL, updated_date DATETIME,
  last_message TEXT NOT NULL, count INTEGER NOT NULL);
CREATE UNIQUE INDEX warnings_unique_idx ON warnings (IFNULL(node_id, -1), IFNULL(project_id, -1), IFNULL(entity_type_code, -1), IFNULL(entity_id, -1), type_code);
CREATE TABLE networks (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, project_id INTEGER NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
  name TEXT NOT NULL, description TEXT NOT NULL DEFAULT '', state INTEGER NOT NULL DEFAULT 0, type INTEGER NOT NULL DEFAULT 0, UNIQUE (project_id, name));
CREATE TABLE networks_nodes (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, network_id INTEGER NOT NULL REFERENCES networks (id) ON DELETE CASCADE,
  node_id INTEGER NOT NULL REFERENCES nodes (id) ON DELETE CASCADE, state INTEGER NOT NULL DEFAULT 0, UNIQUE (network_id, node_id));
CREATE TABLE networks_config (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, network_id INTEGER NOT NULL REFERENCES networks (id) ON DELETE CASCADE,
  node_id INTEGER REFERENCES nodes (id) ON DELETE CASCADE, key TEXT NOT NULL, value TEXT, UNIQUE (network_id, node_id, key));
CREATE TABLE storage_buckets (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, name TEXT NOT NULL,
  storage_pool_id INTEGER NOT NULL REFERENCES storage_pools (id) ON DELETE CASCADE, node_id INTEGER REFERENCES nodes (id) ON DELETE CASCADE,
  description TEXT NOT NULL DEFAULT '', project_id INTEGER NOT NULL REFERENCES projects (id) ON DELETE CASCADE, UNIQUE (storage_pool_id, node_id, name));
CREATE TABLE images_source (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, image_id INTEGER NOT NULL UNIQUE REFERENCES images (id) ON DELETE CASCADE,
  server TEXT NOT NULL, protocol INTEGER NOT NULL, certificate TEXT NOT NULL, alias TEXT NOT NULL);
CREATE VIEW instances_config_view AS SELECT p.name AS project, i.name AS instance, c.key AS key, c.value AS value
  FROM instances_config c JOIN instances i ON i.id = c.instance_id JOIN projects p ON p.id = i.project_id;
CREATE TRIGGER warnings_of_instance AFTER DELETE ON instances BEGIN
  DELETE FROM warnings WHERE entity_type_code IN (0, 5) AND entity_id = OLD.id;
END;
CREATE TRIGGER warnings_of_image AFTER DELETE ON images BEGIN DELETE FROM warnings WHERE entity_type_code = 1 AND entity_id = OLD.id; END;
CREATE TRIGGER warnings_of_profile AFTER DELETE ON profiles BEGIN DELETE FROM warnings WHERE entity_type_code = 2 AND entity_id = OLD.id; END;
CREATE TRIGGER warnings_of_project AFTER DELETE ON projects BEGIN DELETE FROM warnings WHERE entity_type_code = 3 AND entity_id = OLD.id; END;
CREATE TRIGGER warnings_of_certificate AFTER DELETE ON certificates BEGIN DELETE FROM warnings WHERE entity_type_code = 4 AND entity_id = OLD.id; END;
CREATE TRIGGER warnings_of_pool AFTER DELETE ON storage_pools BEGIN DELETE FROM warnings WHERE entity_type_code = 12 AND entity_id = OLD.id; END;
)sql";

// Backups that the server keeps.
constexpr const char *global_5 = R"sql(
CREATE TABLE instances_backups (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, instance_id INTEGER NOT NULL REFERENCES instances (id) ON DELETE CASCADE,
  name TEXT NOT NULL, creation_date DATETIME, expiry_date DATETIME, container_only INTEGER NOT NULL DEFAULT 0, optimized_storage INTEGER NOT NULL DEFAULT 0,
  UNIQUE (instance_id, name));
CREATE TABLE storage_volumes_backups (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
  storage_volume_id INTEGER NOT NULL REFERENCES storage_volumes (id) ON DELETE CASCADE, name TEXT NOT NULL, creation_date DATETIME, expiry_date DATETIME,
  volume_only INTEGER NOT NULL DEFAULT 0, optimized_storage INTEGER NOT NULL DEFAULT 0, UNIQUE (storage_volume_id, name));
)sql";

constexpr const char *local_2 = R"sql(
CREATE TABLE certificates (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, fingerprint TEXT NOT NULL UNIQUE, type INTEGER NOT NULL, name TEXT NOT NULL,
  certificate TEXT NOT NULL);
)sql";

// What snapshots of volumes keep of the volume's configuration; and those of instances are snapshots of their volumes too.
constexpr const char *global_6 = R"sql(
CREATE TABLE storage_volumes_snapshots_config (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
  storage_volume_snapshot_id INTEGER NOT NULL REFERENCES storage_volumes_snapshots (id) ON DELETE CASCADE, key TEXT NOT NULL, value TEXT,
  UNIQUE (storage_volume_snapshot_id, key));
INSERT INTO storage_volumes_snapshots (storage_volume_id, name, description, creation_date)
  SELECT v.id, s.name, s.description, s.creation_date FROM instances_snapshots s JOIN instances i ON i.id = s.instance_id
    JOIN storage_volumes v ON v.type = 0 AND v.project_id = i.project_id AND v.name = i.name;
)sql";

constexpr const char *local_1 = R"sql(
CREATE TABLE schema (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, version INTEGER NOT NULL UNIQUE, updated_at DATETIME NOT NULL);
CREATE TABLE config (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, key TEXT NOT NULL UNIQUE, value TEXT);
CREATE TABLE patches (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, name TEXT NOT NULL UNIQUE, applied_at DATETIME NOT NULL);
CREATE TABLE raft_nodes (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, address TEXT NOT NULL UNIQUE, role INTEGER NOT NULL DEFAULT 0, name TEXT NOT NULL DEFAULT '');
CREATE TABLE intents (id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, kind TEXT NOT NULL, data TEXT NOT NULL, created_at DATETIME NOT NULL);
)sql";

} // namespace

const std::vector<Step> &global_steps() {
  static const std::vector<Step> steps{{1, global_1}, {2, global_2}, {3, global_3}, {4, global_4}, {5, global_5}, {6, global_6}};
  return steps;
}

const std::vector<Step> &local_steps() {
  static const std::vector<Step> steps{{1, local_1}, {2, local_2}};
  return steps;
}

} // namespace incus::db
