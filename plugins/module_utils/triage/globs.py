# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Patterns of paths within evidence, as shells have them: `*`, `?` and `[...]` stay within one folder, `**` is any
number of folders. Only folders that can hold a match are read."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterator, Sequence

from ..forensics.tree import Entry, Tree


def matching(tree: Tree, patterns: Sequence[str]) -> Iterator[Entry]:
    """Entries whose paths match, each once. Links within a path are followed, the last one is not."""
    seen: set[bytes] = set()
    for pattern in patterns:
        for entry in _match(tree, b"", [os.fsencode(part) for part in pattern.split("/") if part]):
            if entry.path not in seen:
                seen.add(entry.path)
                yield entry


def _match(tree: Tree, folder: bytes, left: list[bytes]) -> Iterator[Entry]:
    head, rest = left[0], left[1:]
    if head == b"**":
        for place, entries in tree.walk(folder or b"/"):
            if rest:
                yield from _match(tree, place.rstrip(b"/"), rest)
            else:
                yield from entries
        return
    if not any(char in head for char in b"*?["):
        entry = tree.lookup(folder + b"/" + head, follow_last=bool(rest))
        found = [] if entry is None else [entry]
    else:
        wanted = re.compile(fnmatch.translate(head.decode("latin-1")).encode("latin-1"), re.DOTALL)
        found = [entry for entry in tree.entries(folder or b"/") if wanted.match(entry.name)]
        if rest:  # a link to a folder is as good as a folder
            found = [real for entry in found if (real := tree.lookup(entry.path)) is not None]
    for entry in found:
        if not rest:
            yield entry
        elif entry.is_dir:
            yield from _match(tree, entry.path.rstrip(b"/"), rest)
