# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the lab's content: `python -m lab.content container-base`."""

from __future__ import annotations

import argparse
import sys
import time

from lab import config
from lab.content import container_base, host_image, toolbox, wheels
from lab.content.cache import BuildError

BUILDERS = {
    "container-base": container_base.ensure_container_base,
    "host-image": host_image.ensure_host_image,
    "packages": host_image.ensure_packages,
    "toolbox-image": toolbox.ensure_toolbox_image,
    "wheels": wheels.ensure_wheels,
}


def main() -> int:
    """Build one thing when the cache lacks it, and print where it is."""
    parser = argparse.ArgumentParser(prog="python -m lab.content", description=__doc__)
    parser.add_argument("what", choices=sorted(BUILDERS))
    what = parser.parse_args().what
    start = time.monotonic()
    try:
        path = BUILDERS[what](config.load().cache)
    except BuildError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{what}: {path} ({time.monotonic() - start:.1f} s)", file=sys.stderr)
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
