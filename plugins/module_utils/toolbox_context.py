# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the image of tools is built from: this collection's own files and a team's rules, under one hash.

The hash is over everything that makes another image: when it has been published before, there is nothing to build.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from .forensics.content import KINDS, MANIFEST, VENDOR_FILES, vendor_set

PARTS = ("roles/toolbox/files/image", "plugins/module_utils/forensics", "plugins/module_utils/ebs", "pyproject.toml",
         "LICENSE")
CONTAINERFILE = "roles/toolbox/files/image/Containerfile"
RULES = "roles/toolbox/files/image/rules"
WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,39}")
DATE = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\dZ)?")


class ContextRefused(ValueError):
    """One sentence that says which source cannot be used, and why."""


@dataclass
class Source:
    """A team's rules or signatures: a file or a folder, with the name under which they are told of."""

    kind: str
    name: str
    path: Path
    version: str = ""
    date: str = ""
    files: dict[str, bytes] = field(default_factory=dict)  # by their paths in the context

    @classmethod
    def load(cls, given: Mapping[str, Any]) -> Source:
        """Read it; what is no rule, such as a readme, is left out."""
        source = cls(str(given["kind"]), str(given["name"]), Path(given["path"]), str(given.get("version") or ""),
                     str(given.get("date") or ""))
        start = f"The {source.kind} rules '{source.name}'"
        if not WORD.fullmatch(source.name) or source.name == "dfir":
            raise ContextRefused(f"{start} need another name: letters, digits, dots and dashes, and not 'dfir'.")
        if source.version and not WORD.fullmatch(source.version):
            raise ContextRefused(f"{start} have a version that is no plain word: {source.version!r}.")
        if source.date and not DATE.fullmatch(source.date):
            raise ContextRefused(f"{start} have a date that is none: give it as 2026-11-27 or 2026-11-27T10:00:00Z.")
        try:
            found = _rule_files(source)
            if not found:
                raise ContextRefused(f"{start} hold no file that is used ({', '.join(KINDS[source.kind])}): "
                                     f"{source.path}.")
            newest = max(path.stat().st_mtime for path in found.values())
            source.files = {name: path.read_bytes() for name, path in sorted(found.items())}
        except OSError as error:
            raise ContextRefused(f"{start} cannot be read: {error}.") from error
        source.date = _moment(source.date) or _iso(newest)
        return source

    @property
    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for name, data in sorted(self.files.items()):
            digest.update(f"{name}\0{len(data)}\0".encode() + data)
        return digest.hexdigest()[:12]

    def told(self) -> dict[str, Any]:
        """As it stands in the image's own list."""
        names = [name.rsplit("/", 1)[-1] for name in self.files]
        return {"kind": self.kind, "name": self.name, "version": self.version or self.fingerprint, "date": self.date,
                "files": names}


def _rule_files(source: Source) -> dict[str, Path]:
    """Files by their paths in the context: in one folder, the source's name in front, so that none hides another."""
    found: dict[str, Path] = {}
    patterns = KINDS[source.kind] + (VENDOR_FILES if source.kind == "clamav" else ())
    top = source.path if source.path.is_dir() else source.path.parent
    if not source.path.exists():
        raise ContextRefused(f"The {source.kind} rules '{source.name}' are not there: {source.path}.")
    for path in sorted(top.rglob("*")) if source.path.is_dir() else [source.path]:
        if not path.is_file() or not any(path.match(pattern) for pattern in patterns):
            continue
        if any(path.match(pattern) for pattern in VENDOR_FILES):
            found[f"{RULES}/clamav-vendor/{path.name}"] = path  # the vendor's databases keep their names
        else:
            flat = re.sub(r"[^A-Za-z0-9_.-]", "-", "-".join(path.relative_to(top).parts))
            found[f"{RULES}/{source.kind}/{source.name}-{flat}"] = path
    return found


class Context:
    """All files of a build, by their paths."""

    def __init__(self, project: Path, sources: Iterable[Source], containerfile: Path | None = None) -> None:
        self.sources = list(sources)
        names = [(source.kind, source.name) for source in self.sources]
        double = next((name for kind, name in names if names.count((kind, name)) > 1), None)
        if double:
            raise ContextRefused(f"Two sources of rules have the name '{double}': give each a name of its own.")
        self.files: dict[str, tuple[bytes, int]] = {}
        for part in PARTS:
            top = project / part
            for path in [top] if top.is_file() else sorted(top.rglob("*")):
                if path.is_file() and "__pycache__" not in path.parts:
                    self.files[str(path.relative_to(project))] = (path.read_bytes(), path.stat().st_mode & 0o111)
        if CONTAINERFILE not in self.files:
            raise ContextRefused(f"{project} is not the root of this collection: it has no {CONTAINERFILE}.")
        if containerfile is not None:
            try:
                self.files[CONTAINERFILE] = (containerfile.read_bytes(), 0)
            except OSError as error:
                raise ContextRefused(f"The Containerfile cannot be read: {error}.") from error
        for source in self.sources:
            self.files.update({name: (data, 0) for name, data in source.files.items()})

    def content(self, inputs: Mapping[str, str]) -> str:
        """A short hash over everything that makes another image: files, base and arguments of the build, and what the
        team says of its rules."""
        digest = hashlib.sha256()
        for name, (data, mode) in sorted(self.files.items()):
            digest.update(f"{name}\0{len(data)}\0{mode:o}\0".encode() + data)
        said = [[source.kind, source.name, source.version] for source in self.sources]
        digest.update(json.dumps([dict(inputs), sorted(said)], sort_keys=True).encode())
        return digest.hexdigest()[:16]

    def version(self, now: datetime) -> tuple[str, str]:
        """The version of an image that is built now, which no other has, and that moment."""
        found = re.search(rb'^version = "([0-9][A-Za-z0-9_.+]*)"$', self.files["pyproject.toml"][0], re.MULTILINE)
        if found is None:
            raise ContextRefused("pyproject.toml names no version.")
        return f"{found[1].decode()}-{now:%Y%m%d.%H%M%S}", f"{now:%Y-%m-%dT%H:%M:%SZ}"

    def sets(self) -> list[dict[str, Any]]:
        """The team's sets as the image lists them. A vendor's database speaks for itself."""
        return [told for source in self.sources if (told := source.told())]

    def write(self, target: Path, image: str, built: str) -> None:
        """The context as a tar archive, with the image's own list of what it holds."""
        manifest = {"image": image, "built": built, "sets": self.sets()}
        files = {**self.files, f"{RULES}/{MANIFEST}": (json.dumps(manifest, indent=1).encode() + b"\n", 0)}
        with tarfile.open(target, "w") as archive:
            for name, (data, mode) in sorted(files.items()):
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode = len(data), 0o644 | mode
                archive.addfile(entry, io.BytesIO(data))


def describe(source: Source) -> dict[str, Any]:
    """What a run says of a source: a vendor's database by its own header, everything else by what was given."""
    vendors = [path for path in _rule_files(source).values() if any(path.match(pattern) for pattern in VENDOR_FILES)]
    if len(vendors) == 1 and len(source.files) == 1:
        said = vendor_set(vendors[0])
        return {**source.told(), "version": said["version"], "date": said["date"] or source.date,
                "files": len(source.files)}
    return {**source.told(), "files": len(source.files)}


def _moment(date: str) -> str:
    return f"{date}T00:00:00Z" if date and "T" not in date else date


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
