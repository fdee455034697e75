#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""hello.py URI IMAGE: one container from Python, such as: hello.py embed:///var/tmp/demo image.tar.gz"""

import sys

# [readme]
import incus

with incus.open(sys.argv[1]) as host:  # "embed:///var/tmp/demo"
    host.images.import_file(sys.argv[2], alias="busy").wait()
    c = host.instances.launch("c1", image="busy")  # running and ready
    r = c.exec(["uname", "-a"])
    print(r.exit_code, r.stdout, r.stderr)  # int, bytes, bytes
    c.snapshots.create("s0")
    c.restore("s0")
    print(c.state().status, [i.name for i in host.instances.list()])
    c.stop(force=True)
    c.delete()
# [/readme]
