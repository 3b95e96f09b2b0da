# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The smallest Debian: base of the lab's hosts, and of the toolbox image when it is built for the lab."""

from __future__ import annotations

from pathlib import Path

from lab.content import apt
from lab.content.cache import ensure, recipe_key

RECIPE = "1"  # raise it when the recipe below changes


def ensure_container_base(cache: Path) -> Path:
    """A tar archive of a minimal Debian 12, as `podman import` takes it; built when the cache has none."""
    key = recipe_key(RECIPE, apt.SUITE, apt.DEFAULT_SOURCES, apt.architecture())
    return ensure(cache, "container-base", key, _build) / "rootfs.tar"


def _build(folder: Path) -> None:
    rootfs = folder / "rootfs"
    apt.debootstrap(rootfs)
    # ca-certificates belongs to it: whoever builds upon it fetches by HTTPS.
    apt.install(rootfs, ["ca-certificates"])
    apt.run(["tar", "--create", "--file", str(folder / "rootfs.tar"), "--directory", str(rootfs), "--numeric-owner",
             "--xattrs", "--sort=name", "."])
    apt.run(["rm", "-rf", "--one-file-system", str(rootfs)])
