# SPDX-License-Identifier: Apache-2.0
"""place.py TARGET MODULE STAMP SOURCES...: fills TARGET with links, so that the package works in the build directory."""

import os
import sys
from pathlib import Path

target, module, stamp, *sources = sys.argv[1:]
folder = Path(target)
folder.mkdir(parents=True, exist_ok=True)
for source in [module, *sources]:
    link = folder / os.path.basename(source)
    link.unlink(missing_ok=True)
    link.symlink_to(os.path.relpath(os.path.realpath(source), os.path.realpath(folder)))
Path(stamp).touch()
