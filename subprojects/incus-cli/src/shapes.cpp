// SPDX-License-Identifier: Apache-2.0
// The records of the REST API as the official client prints them: fields in the order of its output, with their types.
//   name:TYPE, name?:TYPE (left out when empty); TYPE: s text, b boolean, i integer, f number, t time, a anything, [T list, {T map, *T or null,
//   or a record's name.
#include <algorithm>

#include "output.hpp"

namespace cli {

namespace {

struct Shape {
  std::string_view name, fields;
};

// Sorted by name.
constexpr Shape shapes[] = {
    {"Certificate", "name:s type:s restricted:b projects:[s certificate:s description:s fingerprint:s"},
    {"CertificateAddToken", "client_name:s fingerprint:s addresses:[s secret:s expires_at:t"},
    {"CertificatePut", "name:s type:s restricted:b projects:[s certificate:s description:s"},
    {"ClusterMemberConfigKey", "entity:s name:s key:s value:s description:s"},
    {"Event", "type:s timestamp:t metadata:a location?:s project?:s"},
    {"Image", "auto_update:b properties:{s public:b expires_at:t profiles:[s aliases:[ImageAlias architecture:s cached:b filename:s fingerprint:s "
              "size:i update_source?:*ImageSource type:s created_at:t last_used_at:t uploaded_at:t project:s"},
    {"ImageAlias", "name:s description:s"},
    {"ImageAliasesEntry", "description:s target:s name:s type:s"},
    {"ImageAliasesEntryPut", "description:s target:s"},
    {"ImageMetadata", "architecture:s creation_date:i expiry_date:i properties:{s templates:{*ImageMetadataTemplate"},
    {"ImageMetadataTemplate", "when:[s create_only:b template:s properties:{s uid?:s gid?:s mode?:s"},
    {"ImagePut", "auto_update:b properties:{s public:b expires_at:t profiles:[s"},
    {"ImageSource", "alias:s certificate:s protocol:s server:s image_type:s"},
    {"InitClusterPreseed", "server_name:s enabled:b member_config:[ClusterMemberConfigKey cluster_address:s cluster_certificate:s server_address:s "
                           "cluster_token:s cluster_certificate_path:s"},
    {"InitNetworksProjectPost", "config:{s description:s name:s type:s"},
    {"InitPreseed", "config:{s networks:[InitNetworksProjectPost storage_pools:[StoragePoolsPost storage_volumes:[InitStorageVolumesProjectPost "
                    "profiles:[InitProfileProjectPost projects:[ProjectsPost cluster:*InitClusterPreseed"},
    {"InitProfileProjectPost", "config:{s description:s devices:{{s name:s"},
    {"InitStorageVolumesProjectPost", "config:{s description:s restore?:s name:s type:s source:StorageVolumeSource content_type:s"},
    {"Instance", "architecture:s config:{s devices:{{s ephemeral:b profiles:[s restore?:s stateful:b description:s created_at:t "
                 "expanded_config?:{s expanded_devices?:{{s name:s status:s status_code:i last_used_at:t location:s type:s project:s"},
    {"InstanceBackup", "name:s created_at:t expires_at:t instance_only:b optimized_storage:b"},
    {"InstanceFull",
     "architecture:s config:{s devices:{{s ephemeral:b profiles:[s restore?:s stateful:b description:s created_at:t "
     "expanded_config?:{s expanded_devices?:{{s name:s status:s status_code:i last_used_at:t location:s type:s project:s backups:[InstanceBackup "
     "state:*InstanceState snapshots:[InstanceSnapshot"},
    {"InstancePut", "architecture:s config:{s devices:{{s ephemeral:b profiles:[s restore?:s stateful:b description:s"},
    {"InstanceSnapshot", "expires_at:t architecture:s config:{s created_at:t devices:{{s ephemeral:b expanded_config?:{s expanded_devices?:{{s "
                         "last_used_at:t name:s profiles:[s stateful:b size:i"},
    {"InstanceSnapshotPut", "expires_at:t"},
    {"InstanceState", "status:s status_code:i disk:{InstanceStateDisk memory:InstanceStateMemory network:{InstanceStateNetwork pid:i processes:i "
                      "cpu:InstanceStateCPU started_at:t os_info:*InstanceStateOSInfo"},
    {"InstanceStateCPU", "usage:i allocated_time:i"},
    {"InstanceStateDisk", "usage:i total:i"},
    {"InstanceStateMemory", "usage:i usage_peak:i total:i swap_usage:i swap_usage_peak:i"},
    {"InstanceStateNetwork", "addresses:[InstanceStateNetworkAddress counters:InstanceStateNetworkCounters hwaddr:s host_name:s mtu:i state:s "
                             "type:s"},
    {"InstanceStateNetworkAddress", "family:s address:s netmask:s scope:s"},
    {"InstanceStateNetworkCounters", "bytes_received:i bytes_sent:i packets_received:i packets_sent:i errors_received:i errors_sent:i "
                                     "packets_dropped_outbound:i packets_dropped_inbound:i"},
    {"InstanceStateOSInfo", "os:s os_version:s kernel_version:s hostname:s fqdn:s"},
    {"Network", "config:{s description:s name:s type:s used_by:[s managed:b status:s locations:[s project:s"},
    {"NetworkLease", "hostname:s hwaddr:s address:s type:s location:s"},
    {"NetworkPut", "config:{s description:s"},
    {"NetworkState", "addresses:[NetworkStateAddress counters:*NetworkStateCounters hwaddr:s mtu:i state:s type:s bond:*NetworkStateBond "
                     "bridge:*NetworkStateBridge vlan:*NetworkStateVLAN ovn:*NetworkStateOVN"},
    {"NetworkStateAddress", "family:s address:s netmask:s scope:s"},
    {"NetworkStateBond", "mode:s transmit_policy:s up_delay:i down_delay:i mii_frequency:i mii_state:s lower_devices:[s"},
    {"NetworkStateBridge", "id:s stp:b forward_delay:i vlan_default:i vlan_filtering:b upper_devices:[s"},
    {"NetworkStateCounters", "bytes_received:i bytes_sent:i packets_received:i packets_sent:i"},
    {"NetworkStateOVN", "chassis:s logical_router:s logical_switch:s uplink_ipv4:s uplink_ipv6:s"},
    {"NetworkStateVLAN", "lower_device:s vid:i"},
    {"Operation", "id:s class:s description:s created_at:t updated_at:t status:s status_code:i resources:{[s metadata:{a may_cancel:b err:s "
                  "location:s"},
    {"Preseed", "config:{s networks:[PreseedNetwork storage_pools:[StoragePoolsPost storage_volumes:[a profiles:[PreseedProfile "
                "projects:[ProjectsPost cluster?:a"},
    {"PreseedNetwork", "config:{s description:s name:s type:s project:s"},
    {"PreseedProfile", "config:{s description:s devices:{{s name:s project:s"},
    {"Profile", "config:{s description:s devices:{{s name:s used_by:[s project:s"},
    {"ProfilePut", "config:{s description:s devices:{{s"},
    {"Project", "config:{s description:s name:s used_by:[s"},
    {"ProjectPut", "config:{s description:s"},
    {"ProjectState", "resources:{ProjectStateResource"},
    {"ProjectStateResource", "Limit:i Usage:i"},
    {"ProjectsPost", "config:{s description:s name:s"},
    {"RemoteEntry", "addr:s auth_type?:s keepalive?:i project?:s protocol?:s public:b"},
    {"RemoteFacts", "Addr:s AuthType:s KeepAlive:i Project:s Protocol:s Public:b Global:b Static:b"},
    {"Resources", "cpu:ResourcesCPU memory:ResourcesMemory gpu:ResourcesGPU network:ResourcesNetwork storage:ResourcesStorage usb:ResourcesUSB "
                  "pci:ResourcesPCI system:ResourcesSystem load:ResourcesLoad"},
    {"ResourcesCPU", "architecture:s sockets:[ResourcesCPUSocket total:i"},
    {"ResourcesCPUCache", "level:i type:s size:i"},
    {"ResourcesCPUCore", "core:i die:i threads:[ResourcesCPUThread frequency?:i flags:[s"},
    {"ResourcesCPUSocket", "name?:s vendor?:s socket:i cache?:[ResourcesCPUCache cores:[ResourcesCPUCore frequency?:i frequency_minimum?:i "
                           "frequency_turbo?:i"},
    {"ResourcesCPUThread", "id:i numa_node:i thread:i online:b isolated:b"},
    {"ResourcesGPU", "cards:[ResourcesGPUCard total:i"},
    {"ResourcesGPUCard", "driver?:s driver_version?:s drm?:*ResourcesGPUCardDRM sriov?:*ResourcesGPUCardSRIOV nvidia?:*ResourcesGPUCardNvidia "
                         "mdev?:{ResourcesGPUCardMdev numa_node:i pci_address?:s vendor?:s vendor_id?:s product?:s product_id?:s usb_address?:s"},
    {"ResourcesGPUCardDRM", "id:i card_name:s card_device:s control_name?:s control_device?:s render_name?:s render_device?:s"},
    {"ResourcesGPUCardMdev", "api:s available:i name?:s description?:s devices:[s"},
    {"ResourcesGPUCardNvidia", "cuda_version?:s nvrm_version?:s brand:s model:s uuid?:s architecture?:s card_name:s card_device:s"},
    {"ResourcesGPUCardSRIOV", "current_vfs:i maximum_vfs:i vfs:[ResourcesGPUCard"},
    {"ResourcesLoad", ""},
    {"ResourcesMemory", "nodes?:[ResourcesMemoryNode hugepages_total:i hugepages_used:i hugepages_size:i used:i total:i"},
    {"ResourcesMemoryNode", "numa_node:i hugepages_used:i hugepages_total:i used:i total:i"},
    {"ResourcesNetwork", "cards:[ResourcesNetworkCard total:i"},
    {"ResourcesNetworkCard",
     "driver?:s driver_version?:s ports?:[ResourcesNetworkCardPort sriov?:*ResourcesNetworkCardSRIOV "
     "vdpa?:*ResourcesNetworkCardVDPA numa_node:i pci_address?:s vendor?:s vendor_id?:s product?:s product_id?:s firmware_version?:s "
     "usb_address?:s"},
    {"ResourcesNetworkCardPort", "id:s address?:s port:i protocol:s supported_modes?:[s supported_ports?:[s port_type?:s transceiver_type?:s "
                                 "auto_negotiation:b link_detected:b link_speed?:i link_duplex?:s infiniband?:*ResourcesNetworkCardPortInfiniband"},
    {"ResourcesNetworkCardPortInfiniband", "issm_name?:s issm_device?:s mad_name?:s mad_device?:s verb_name?:s verb_device?:s"},
    {"ResourcesNetworkCardSRIOV", "current_vfs:i maximum_vfs:i vfs:[ResourcesNetworkCard"},
    {"ResourcesNetworkCardVDPA", "name:s device:s"},
    {"ResourcesPCI", "devices:[ResourcesPCIDevice total:i"},
    {"ResourcesPCIDevice", "driver:s driver_version:s numa_node:i pci_address:s vendor:s vendor_id:s product:s product_id:s iommu_group:i "
                           "vpd:ResourcesPCIVPD"},
    {"ResourcesPCIVPD", "product_name?:s entries?:{s"},
    {"ResourcesStorage", "disks:[ResourcesStorageDisk total:i"},
    {"ResourcesStorageDisk",
     "id:s device:s model?:s type?:s read_only:b size:i removable:b wwn?:s numa_node:i device_path?:s block_size:i "
     "firmware_version?:s rpm:i serial?:s device_id:s partitions:[ResourcesStorageDiskPartition pci_address?:s usb_address?:s"},
    {"ResourcesStorageDiskPartition", "id:s device:s read_only:b size:i partition:i"},
    {"ResourcesStoragePool", "space?:ResourcesStoragePoolSpace inodes?:ResourcesStoragePoolInodes"},
    {"ResourcesStoragePoolInodes", "used:i total:i"},
    {"ResourcesStoragePoolSpace", "used?:i total:i"},
    {"ResourcesSystem", "uuid:s vendor:s product:s family:s version:s sku:s serial:s type:s firmware:*ResourcesSystemFirmware "
                        "chassis:*ResourcesSystemChassis motherboard:*ResourcesSystemMotherboard"},
    {"ResourcesSystemChassis", "vendor:s type:s serial:s version:s"},
    {"ResourcesSystemFirmware", "vendor:s date:s version:s"},
    {"ResourcesSystemMotherboard", "vendor:s product:s serial:s version:s"},
    {"ResourcesUSB", "devices:[ResourcesUSBDevice total:i"},
    {"ResourcesUSBDevice", "bus_address:i device_address:i serial:s interfaces:[ResourcesUSBDeviceInterface vendor:s vendor_id:s product:s "
                           "product_id:s speed:f"},
    {"ResourcesUSBDeviceInterface", "class:s class_id:i driver:s driver_version:s number:i subclass:s subclass_id:i"},
    {"Server", "config:{s api_extensions:[s api_status:s api_version:s auth:s public:b auth_methods:[s auth_user_name:s auth_user_method:s "
               "environment:ServerEnvironment"},
    {"ServerEnvironment",
     "addresses:[s architectures:[s certificate:s certificate_fingerprint:s driver:s driver_version:s firewall:s kernel:s "
     "kernel_architecture:s kernel_features:{s kernel_version:s lxc_features:{s os_name:s os_version:s project:s server:s server_clustered:b "
     "server_event_mode:s server_name:s server_pid:i server_version:s storage:s storage_version:s "
     "storage_supported_drivers:[ServerStorageDriverInfo"},
    {"ServerPut", "config:{s"},
    {"ServerStorageDriverInfo", "name:s version:s remote:b"},
    {"ServerUntrusted", "config:{s api_extensions:[s api_status:s api_version:s auth:s public:b auth_methods:[s"},
    {"Settings", "default-remote:s remotes:{RemoteEntry aliases:{s"},
    {"SqlResult", "type:s columns:[s rows:[[a rows_affected:i"},
    {"StoragePool", "config:{s description:s name:s driver:s used_by:[s status:s locations:[s"},
    {"StoragePoolPut", "config:{s description:s"},
    {"StoragePoolsPost", "config:{s description:s name:s driver:s"},
    {"StorageVolume", "config:{s description:s restore?:s name:s type:s used_by:[s location:s content_type:s project:s created_at:t"},
    {"StorageVolumePut", "config:{s description:s restore?:s"},
    {"StorageVolumeSnapshot", "description:s expires_at:*t name:s config:{s content_type:s created_at:t"},
    {"StorageVolumeSnapshotPut", "description:s expires_at:*t"},
    {"StorageVolumeSource", "name:s type:s pool:s certificate:s mode?:s operation?:s secrets?:{s volume_only:b refresh:b refresh_exclude_older:b "
                            "project?:s location:s"},
    {"StorageVolumeState", "usage:*StorageVolumeStateUsage"},
    {"StorageVolumeStateUsage", "used?:i total:i"},
    {"Warning", "status:s uuid:s location:s project:s type:s count:i first_seen_at:t last_seen_at:t last_message:s severity:s entity_url:s"},
    {"WarningPut", "status:s"},
};

} // namespace

std::string_view shape_of(std::string_view type) {
  auto it = std::lower_bound(std::begin(shapes), std::end(shapes), type, [](const Shape &s, std::string_view t) { return s.name < t; });
  return it != std::end(shapes) && it->name == type ? it->fields : std::string_view();
}

} // namespace cli
