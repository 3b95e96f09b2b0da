# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Debian packages for the lab's root file systems, fetched with this machine's own apt configuration.

The machine's apt does every download (it knows the proxies, certificates and mirrors that work here), but it works
against the package database of the root file system being built. So nothing of this machine ends up inside.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from lab.content.cache import BuildError

SUITE = "bookworm"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
DEFAULT_MIRROR = "http://deb.debian.org/debian"
DEFAULT_SOURCES = f"""\
deb {DEFAULT_MIRROR} {SUITE} main
deb {DEFAULT_MIRROR} {SUITE}-updates main
deb http://deb.debian.org/debian-security {SUITE}-security main
"""


@dataclass(frozen=True)
class Source:
    """One line of a sources.list."""

    uri: str
    suite: str

    def line(self) -> str:
        """As apt reads it."""
        return f"deb [signed-by={KEYRING}] {self.uri} {self.suite} main"


def parse_index_targets(text: str) -> list[Source]:
    """Debian's own archives among the lines `uri|release|component` of `apt-get indextargets`."""
    wanted = {SUITE, f"{SUITE}-updates", f"{SUITE}-security"}
    found: list[Source] = []
    for line in text.splitlines():
        uri, suite, component = line.split("|")
        source = Source(uri.rstrip("/"), suite)
        if suite in wanted and component == "main" and source not in found:
            found.append(source)
    return sorted(found, key=lambda source: (source.suite, source.uri))


def machine_sources() -> list[Source]:
    """The Debian archives this machine uses; Debian's default ones where it uses none of this release."""
    shown = run(["apt-get", "indextargets", "--format", "$(REPO_URI)|$(RELEASE)|$(COMPONENT)", "Created-By: Packages"])
    sources = parse_index_targets(shown)
    if any(source.suite == SUITE for source in sources):
        return sources
    return [Source(*line.split()[1:3]) for line in DEFAULT_SOURCES.splitlines()]


def architecture() -> str:
    """Debian's name of this machine's processor."""
    return run(["dpkg", "--print-architecture"]).strip()


def run(command: list[str], *, env: dict[str, str] | None = None) -> str:
    """Run a command; its output when it succeeds, a BuildError with the last lines of it when not."""
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True,
                          stderr=subprocess.STDOUT, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive",
                                                          "LC_ALL": "C.UTF-8", **(env or {})})
    if done.returncode != 0:
        tail = "\n".join(done.stdout.splitlines()[-15:])
        raise BuildError(f"`{' '.join(command[:6])} …` failed with exit code {done.returncode}:\n{tail}")
    return done.stdout


def proxies() -> dict[str, str]:
    """Apt's proxy settings as environment variables, for debootstrap, which fetches with wget."""
    found = {}
    for scheme in ("http", "https"):
        shown = run(["apt-config", "shell", "proxy", f"Acquire::{scheme}::Proxy"]).strip()
        value = shown.partition("=")[2].strip("'\"")
        if value and value != "DIRECT":
            found[f"{scheme}_proxy"] = value
    return found


def debootstrap(rootfs: Path) -> None:
    """Make a minimal Debian in `rootfs`, with Debian's default sources written into it."""
    main = next(source for source in machine_sources() if source.suite == SUITE)
    run(["debootstrap", "--variant=minbase", f"--keyring={KEYRING}", SUITE, str(rootfs), main.uri], env=proxies())
    (rootfs / "etc/apt/sources.list").write_text(DEFAULT_SOURCES, encoding="utf-8")
    shutil.rmtree(rootfs / "var/lib/apt/lists")
    (rootfs / "var/lib/apt/lists").mkdir()
    for package in (rootfs / "var/cache/apt/archives").glob("*.deb"):
        package.unlink()
    # What debootstrap copies from the machine that runs it.
    (rootfs / "etc/resolv.conf").unlink(missing_ok=True)
    (rootfs / "etc/hostname").unlink(missing_ok=True)


def download(rootfs: Path, packages: list[str], into: Path) -> None:
    """Fetch `packages` and everything they need that `rootfs` lacks into the folder `into`; install nothing."""
    into.mkdir(parents=True, exist_ok=True)
    (into / "partial").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="lab-apt-") as name:
        work = Path(name)
        work.chmod(0o755)  # apt fetches as the user _apt
        (work / "sources.list").write_text("".join(source.line() + "\n" for source in machine_sources()))
        for folder in ("state/lists/partial", "cache"):
            (work / folder).mkdir(parents=True)
        options = {
            "Dir::Etc::SourceList": str(work / "sources.list"), "Dir::Etc::SourceParts": "/dev/null",
            "Dir::Etc::Preferences": "/dev/null", "Dir::Etc::PreferencesParts": "/dev/null",
            "Dir::State": str(work / "state"), "Dir::State::status": str(rootfs / "var/lib/dpkg/status"),
            "Dir::Cache": str(work / "cache"), "Dir::Cache::archives": str(into),
            "APT::Architecture": architecture(), "APT::Install-Recommends": "false", "Acquire::Languages": "none",
            "APT::Sandbox::User": "root",  # the caches are root's own
        }
        flags = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
        run(["apt-get", *flags, "-q", "update"])
        run(["apt-get", *flags, "-q", "-y", "--download-only", "install", *packages])
    shutil.rmtree(into / "partial", ignore_errors=True)
    (into / "lock").unlink(missing_ok=True)


def install(rootfs: Path, packages: list[str]) -> None:
    """Install `packages` into `rootfs`; no service is started."""
    folder = rootfs / "var/tmp/debs"  # a folder inside the new root file system
    download(rootfs, packages, folder)
    policy = rootfs / "usr/sbin/policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 101\n", encoding="utf-8")
    policy.chmod(0o755)
    try:
        in_chroot(rootfs, "apt-get -q -y --no-install-recommends -o Dir::Etc::SourceList=/dev/null "
                          "-o Dpkg::Options::=--force-unsafe-io install /var/tmp/debs/*.deb")
    finally:
        policy.unlink()
        shutil.rmtree(folder)


def in_chroot(rootfs: Path, script: str) -> str:
    """Run a shell script in `rootfs`, with /proc and /dev mounted in a mount namespace that ends with it."""
    outer = ('set -e; mount -t proc proc "$0/proc"; mount --rbind /dev "$0/dev"; '
             'exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive '
             'chroot "$0" sh -ec "$1"')
    return run(["unshare", "--mount", "--propagation", "private", "sh", "-c", outer, str(rootfs), script])
