# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How this machine reaches package archives, lent to an image build and never left in the image.

A build runs in a root file system that knows nothing of this machine's mirrors, proxies and certificates. What apt and
pip are told here is written into small files which are mounted for the build only.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable
from pathlib import Path

from lab.content import apt

INSIDE = "/run/build-settings"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
PIP_OPTIONS = {"cert", "client-cert", "default-timeout", "extra-index-url", "find-links", "index-url", "no-index",
               "proxy", "retries", "timeout", "trusted-host"}
APT_LINE = re.compile(r'(Acquire::(?!IndexTargets|Languages|CompressionTypes|cdrom)[\w:.-]+) "(.+)";')


class BuildSettings:
    """The files of one build, written to `folder`; `volumes` are the options that mount them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._folder.mkdir(parents=True)
        self._mounts: dict[Path, str] = {}
        certificates = self._lend(CERTIFICATES) if CERTIFICATES.exists() else None
        self._write("pip.conf", pip_configuration(self._pip_options(), certificates), "/etc/pip.conf")
        self._write("99build-settings", apt_configuration(apt.run(["apt-config", "dump", "Acquire"]), certificates,
                                                          self._lend), "/etc/apt/apt.conf.d/99build-settings")
        self._write("sources.list", "".join(source.line() + "\n" for source in apt.machine_sources()),
                    "/etc/apt/sources.list")

    @property
    def volumes(self) -> list[str]:
        """Options for `podman build`."""
        return [word for path, inside in self._mounts.items() for word in ("--volume", f"{path}:{inside}:ro")]

    def _pip_options(self) -> dict[str, str]:
        shown = apt.run([sys.executable, "-m", "pip", "config", "list"])
        found = {}
        for name, value in parse_pip_options(shown).items():
            words = [self._lend(Path(word)) if word.startswith("/") and Path(word).exists() else word
                     for word in value.split() if not word.startswith("/") or Path(word).exists()]
            if words:
                found[name] = "\n    ".join(words)
        return found

    def _write(self, name: str, text: str, inside: str) -> None:
        path = self._folder / name
        path.write_text(text, encoding="utf-8")
        self._mounts[path] = inside

    def _lend(self, path: Path) -> str:
        """Where a file or folder of this machine is seen during the build."""
        if path not in self._mounts:
            self._mounts[path] = f"{INSIDE}/{len(self._mounts)}-{path.name}"
        return self._mounts[path]


def parse_pip_options(shown: str) -> dict[str, str]:
    """The options that a build needs, from the lines of `pip config list`; environment variables win."""
    found: dict[str, tuple[bool, str]] = {}
    for line in shown.splitlines():
        name, separator, value = line.partition("=")
        section, _, option = name.rpartition(".")
        if separator and option in PIP_OPTIONS and section in ("global", "install", ":env:"):
            strong = section == ":env:"
            if strong or option not in found or not found[option][0]:
                found[option] = (strong, str(ast.literal_eval(value)))
    return {option: value for option, (_, value) in found.items()}


def pip_configuration(options: dict[str, str], certificates: str | None) -> str:
    """A pip.conf with this machine's options, and its certificates unless the options name others."""
    if certificates:
        options = {"cert": certificates, **options}
    return "[global]\n" + "".join(f"{name} = {value}\n" for name, value in sorted(options.items()))


def apt_configuration(dump: str, certificates: str | None, lend: Callable[[Path], str]) -> str:
    """An apt.conf with this machine's way to its archives, from the lines of `apt-config dump`."""
    lines = [f'Acquire::https::CaInfo "{certificates}";'] if certificates else []
    for line in dump.splitlines():
        match = APT_LINE.fullmatch(line)
        if match:
            value = match[2]
            if value.startswith("/"):
                if not Path(value).exists():
                    continue
                value = lend(Path(value))
            lines.append(f'{match[1]} "{value}";')
    return "".join(line + "\n" for line in lines)
