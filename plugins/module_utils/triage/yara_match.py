# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""YARA rules over what a triage has read anyway: not one block is fetched for them.

A tree follows how far each file was read from its beginning; that much of it is read once more, out of the blocks that
are here already, and matched. YARA-X is written in Rust: what is matched is hostile, and the controller has no
analysis host around it.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, cast

from ..ebs.errors import BadInput, Missing
from ..forensics.dissect_tree import DissectTree
from ..forensics.file_system import BUFFER
from ..forensics.model import SEVERITIES, Finding, clean
from ..forensics.scene import Scene
from .rules import line_around

LIMIT = 64 << 20  # bytes of a file that are matched
SECONDS = 10  # for one file
EARLIEST = 20  # matches of a pattern: only the first is shown
NAMED = 5  # files in a sentence


class FollowedTree(DissectTree):
    """A tree that knows how far each of its files was read from the beginning."""

    def __init__(self, kind: str, stream: Any, folder: Path | None = None) -> None:
        super().__init__(kind, stream, folder)
        self.read_to: dict[bytes, int] = {}

    def below(self, top: bytes) -> FollowedTree:
        """A folder as a tree by itself, with files of its own."""
        tree = cast(FollowedTree, super().below(top))
        tree.read_to = {}
        return tree

    def open(self, path: str | bytes) -> IO[bytes] | None:
        """As in any tree."""
        entry = self.lookup(path)
        stream = super().open(entry.path) if entry is not None else None
        if entry is None or stream is None:
            return None
        return cast("IO[bytes]", io.BufferedReader(_Followed(_unbuffered(stream), entry.path, self.read_to), BUFFER))

    def again(self, path: bytes) -> bytes:
        """What was read of a file from its beginning, as far as it is matched."""
        stream = super().open(path)
        if stream is None:
            return b""
        try:
            return bytes(_unbuffered(stream).read(min(self.read_to[path], LIMIT)))
        except Exception:  # a broken list of blocks: it was counted when the file was read first
            return b""


def _unbuffered(stream: Any) -> Any:
    """What is below a buffer, which would read more than it is asked for."""
    return getattr(stream, "raw", stream)


class _Followed(io.RawIOBase):
    """A file; how far it was read without a gap is written down."""

    def __init__(self, inner: Any, path: bytes, read_to: dict[bytes, int]) -> None:
        self._inner, self._path, self._read_to = inner, path, read_to

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(self._inner.seek(offset, whence))

    def tell(self) -> int:
        return int(self._inner.tell())

    def readinto(self, buffer: Any) -> int:
        start = self._inner.tell()
        data = self._inner.read(len(buffer))
        buffer[: len(data)] = data
        before = self._read_to.get(self._path, 0)
        if start <= before < start + len(data):
            self._read_to[self._path] = start + len(data)
        return len(data)


class Yara:
    """Compiled rules. `late`: files on which they took too long."""

    def __init__(self, rules: Any) -> None:
        import yara_x

        self._scanner = yara_x.Scanner(rules)
        self._scanner.set_timeout(SECONDS)
        self._scanner.max_matches_per_pattern(EARLIEST)
        self.late: list[str] = []

    def find(self, scene: Scene) -> Iterator[Finding]:
        """A finding for each rule and file that match."""
        self.late = []
        tree = scene.tree
        if not isinstance(tree, FollowedTree):
            raise TypeError("only what a tree follows is matched")
        for path in sorted(tree.read_to):
            data = tree.again(path)
            for rule in self._matching(data, path) if data else ():
                yield _finding(scene, path, data, rule)

    def _matching(self, data: bytes, path: bytes) -> Iterable[Any]:
        import yara_x

        try:
            return cast("Iterable[Any]", self._scanner.scan(data).matching_rules)
        except yara_x.TimeoutError:
            self.late.append(clean(path))
            return ()

    def left_out(self) -> str:
        """What the last tree's files took too long, in a sentence; empty when none did."""
        if not self.late:
            return ""
        more = f" and {len(self.late) - NAMED} more" if len(self.late) > NAMED else ""
        return f"YARA took more than {SECONDS} s on {', '.join(self.late[:NAMED])}{more}"


def _finding(scene: Scene, path: bytes, data: bytes, rule: Any) -> Finding:
    said = {name: value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)
            for name, value in rule.metadata}
    severity = said.get("severity", "").lower()
    reason = said.get("description") or f"the YARA rule {rule.identifier} matches"
    places = [match for pattern in rule.patterns for match in pattern.matches]
    # The longest says the most: what a file begins with is often a pattern, too.
    place = min(places, key=lambda match: (-match.length, match.offset)).offset if places else None
    entry = scene.tree.lookup(path, follow_last=False)
    found = scene.finding(entry, rule.identifier, "yara", severity if severity in SEVERITIES else "medium",
                          reason if place is None else f"{reason} (at byte {place:,})",
                          "" if place is None else line_around(data, place))
    if entry is not None and entry.info.st_size == len(data):
        found.sha256 = hashlib.sha256(data).hexdigest()
    return found


def load(files: Iterable[Path]) -> Yara | None:
    """Rules from files, None when there are no files; BadInput in one sentence for what cannot be used."""
    paths = list(files)
    if not paths:
        return None
    try:
        import yara_x
    except ImportError as error:
        raise Missing("YARA rules need the Python package yara-x: install it beside Ansible.") from error
    compiler = yara_x.Compiler()
    compiler.enable_includes(False)  # a rule file reads no other file of this machine
    for number, path in enumerate(paths):
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise BadInput(f"{path} cannot be read: {error}.") from error
        compiler.new_namespace(f"file{number}")  # two files may have a rule of one name
        try:
            compiler.add_source(text, origin=str(path))
        except yara_x.CompileError as error:
            raise BadInput(f"{path} holds no YARA rules that can be used: {_short(str(error))}.") from error
    return Yara(compiler.build())


def _short(message: str) -> str:
    """A compiler's message as one sentence: what is wrong, and in which line."""
    said = message.splitlines()[0].partition(": ")[2]
    line = re.search(r"^\s*--> .*:(\d+):\d+$", message, re.MULTILINE)
    return clean(f"{said} in line {line[1]}" if line else said, 300)
