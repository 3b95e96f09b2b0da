# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real Debian web server's files, as the packages leave them: the ground that the incident happens on."""

from __future__ import annotations

from pathlib import Path

from lab.content import apt
from lab.content.cache import ensure, recipe_key
from lab.content.container_base import ensure_container_base

RECIPE = "1"  # raise it when something below changes
PACKAGES = ["systemd", "systemd-sysv", "openssh-server", "cron", "nginx-light", "php8.2-fpm", "rsyslog", "sudo",
            "curl", "logrotate", "iproute2", "procps", "less", "wget"]

# What an image for the cloud leaves out (documentation, translations), and what differs from build to build.
LEFT_OUT = ("usr/share/man", "usr/share/locale", "usr/share/doc", "usr/share/info", "usr/share/lintian",
            "usr/share/bug", "usr/share/zoneinfo/right", "usr/share/zoneinfo/posix", "var/cache", "var/lib/apt/lists",
            "var/lib/systemd", "var/log", "tmp", "run", "proc", "sys", "dev", "etc/ssh/ssh_host_*", "etc/machine-id",
            "etc/resolv.conf", "etc/ssl/private/*", "usr/lib/udev/hwdb.bin", "etc/.pwd.lock", "*.dpkg-old", "*.pyc",
            "etc/passwd-", "etc/group-", "etc/shadow-", "etc/gshadow-", "etc/subuid-", "etc/subgid-")


def ensure_rootfs(cache: Path) -> Path:
    """A tar archive of the server's packages installed on a minimal Debian; built when the cache has none."""
    key = recipe_key(RECIPE, " ".join(PACKAGES), " ".join(LEFT_OUT))

    def build(folder: Path) -> None:
        rootfs = folder / "rootfs"
        rootfs.mkdir()
        apt.run(["tar", "--extract", "--file", str(ensure_container_base(cache)), "--directory", str(rootfs),
                 "--numeric-owner", "--xattrs"])
        apt.install(rootfs, PACKAGES)
        left_out = [f"--exclude=./{pattern}" for pattern in LEFT_OUT]
        apt.run(["tar", "--create", "--file", str(folder / "rootfs.tar"), "--directory", str(rootfs), "--sort=name",
                 "--numeric-owner", "--anchored", "--wildcards", *left_out, "."])
        apt.run(["rm", "-rf", "--one-file-system", str(rootfs)])

    return ensure(cache, "evidence-rootfs", key, build) / "rootfs.tar"
