#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""backup.py URI IMAGE FILE: a container and a volume, kept in a file and brought back from it."""

import sys

# [readme]
import incus

with incus.open(sys.argv[1]) as host:  # "embed:///var/tmp/demo"
    host.images.import_file(sys.argv[2], alias="busy").wait()
    c = host.instances.create("c1", image="busy")
    print(c.backups.create(compression="zstd").export(sys.argv[3]), "bytes")
    again = host.instances.import_backup(sys.argv[3], "c2")
    volume = host.storage_pools.get("default").create_volume("data")
    volume.create_snapshot("s0")
    copy = volume.copy("copy")  # in the server, with its snapshots
    print(again.name, [s.name for s in copy.snapshots()])
# [/readme]
