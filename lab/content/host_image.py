# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The root file system that every host of the lab starts from: a Debian 12 as its cloud image would be, booted without
a kernel of its own."""

from __future__ import annotations

import shutil
from pathlib import Path

from lab.content import apt, container_base
from lab.content.cache import ensure, recipe_key

RECIPE = "1"  # raise it when `_build` changes
FILES = Path(__file__).parent / "files"

PACKAGES = [
    "systemd", "systemd-sysv", "dbus", "openssh-server", "sudo", "python3", "python3-apt", "cloud-init", "procps",
    "iproute2", "netbase", "curl", "less", "e2fsprogs", "xfsprogs", "btrfs-progs", "ntfs-3g", "dosfstools", "fdisk",
    "gdisk", "tzdata",
]

# What the toolbox role may want on a host that has no internet. The package source carries these and all they need.
SERVED_PACKAGES = [
    "podman", "crun", "conmon", "netavark", "aardvark-dns", "fuse-overlayfs", "uidmap", "slirp4netns", "catatonit",
    "containers-storage", "dbus-user-session", "zstd", "xz-utils", "attr", "lvm2", "cryptsetup-bin", "mdadm",
    "python3-venv", "python3-packaging",  # role imaging_host
    "python3-boto3",  # evidence_by: direct
]

# Would wait for devices, networks or the internet, which a host of the lab does not have or gets from outside.
MASKED_UNITS = [
    "apt-daily.timer", "apt-daily-upgrade.timer", "console-getty.service", "dpkg-db-backup.timer",
    "e2scrub_all.timer", "e2scrub_reap.service", "fstrim.timer", "getty.target", "networking.service",
    "systemd-networkd-wait-online.service", "systemd-networkd.service", "systemd-pstore.service",
    "systemd-resolved.service", "systemd-timesyncd.service", "systemd-udevd.service", "ifupdown-wait-online.service",
    "xfs_scrub_all.timer", "cloud-init-local.service", "cloud-init-hotplugd.socket",
]


def ensure_host_image(cache: Path) -> Path:
    """The folder with the hosts' common root file system (read it, never write it)."""
    return _image(cache) / "rootfs"


def ensure_packages(cache: Path) -> Path:
    """A flat package source, as apt reads it, with all that the toolbox role installs on a host."""
    base = _image(cache)
    key = recipe_key("1", base.name, *SERVED_PACKAGES)

    def build(folder: Path) -> None:
        apt.download(base / "rootfs", SERVED_PACKAGES, folder)
        index_packages(folder)

    return ensure(cache, "packages", key, build)


def index_packages(folder: Path) -> None:
    """Write the indexes of a flat package source."""
    index = apt.run(["sh", "-ec", 'cd "$0" && exec apt-ftparchive packages .', str(folder)])
    (folder / "Packages").write_text(index, encoding="utf-8")
    apt.run(["gzip", "--keep", "--force", "--no-name", str(folder / "Packages")])
    release = apt.run(["sh", "-ec", 'cd "$0" && exec apt-ftparchive release .', str(folder)])
    (folder / "Release").write_text(release, encoding="utf-8")


def _image(cache: Path) -> Path:
    files = [path.read_bytes() for path in sorted(FILES.iterdir())]
    key = recipe_key(RECIPE, apt.SUITE, apt.DEFAULT_SOURCES, apt.architecture(), *PACKAGES, *MASKED_UNITS, *files)
    base = container_base.ensure_container_base(cache)

    def build(folder: Path) -> None:
        rootfs = folder / "rootfs"
        rootfs.mkdir()
        apt.run(["tar", "--extract", "--file", str(base), "--directory", str(rootfs), "--numeric-owner", "--xattrs"])
        apt.install(rootfs, PACKAGES)
        _configure(rootfs)

    return ensure(cache, "host-image", key, build)


def _configure(rootfs: Path) -> None:
    for name, place in {
        "99-lab.cfg": "etc/cloud/cloud.cfg.d/99-lab.cfg",
        "DataSourceEc2.py": "usr/lib/python3/dist-packages/lab_cloud/DataSourceEc2.py",
        "containers-lab.conf": "etc/containers/containers.conf",
        "registries-lab.conf": "etc/containers/registries.conf.d/lab.conf",
    }.items():
        target = rootfs / place
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(FILES / name, target)
    (rootfs / "usr/lib/python3/dist-packages/lab_cloud/__init__.py").touch()
    # Which data source it is must not be guessed: the machine below is none of Amazon's.
    (rootfs / "etc/cloud/ds-identify.cfg").write_text("datasource: Ec2\npolicy: enabled\n", encoding="utf-8")
    (rootfs / "etc/apt/sources.list").write_text("# This host has no internet.\n", encoding="utf-8")
    (rootfs / "etc/fstab").write_text("", encoding="utf-8")
    (rootfs / "etc/machine-id").write_text("", encoding="utf-8")
    for key in (rootfs / "etc/ssh").glob("ssh_host_*"):
        key.unlink()  # every host makes its own
    units = rootfs / "etc/systemd/system"
    for unit in MASKED_UNITS:
        link = units / unit
        link.unlink(missing_ok=True)
        link.symlink_to("/dev/null")
