# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Get the artifacts of the case onto the host: `dfir-forensics pull`, called by the host's command dfir-pull.

The host can read nothing in the bucket. The controller has signed an address for each artifact of this incident, good
for a while, and left the list on the host. What is there already is passed over, what broke off is gone on with, and
nothing appears under its name before its size, and its SHA-256 where a list of hashes has it, are right.

Keys were chosen on analysis hosts: each becomes a path below one folder, or it is not taken.
"""

from __future__ import annotations

import argparse
import fnmatch
import hashlib
import http.client
import json
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from .console import tell
from .s3_put import digest
from .watchdog import read_time

CHUNK = 1 << 20
TIMEOUT = 60.0
TRIES = 5
SUMS, MARKER = "sha256sums.txt", "complete.json"
ROOM = 512 << 20  # what stays free on the host's disk
EX_OK, EX_FAILED = 0, 1


class PullError(Exception):
    """One sentence that says why nothing more can be got."""


class Spoiled(Exception):
    """What was received is not what it should be."""


@dataclass(frozen=True)
class Item:
    """One artifact that is offered."""

    name: str  # below the incident's folder
    size: int
    url: str


@dataclass
class Offer:
    """What the controller offers, and until when."""

    incident: str
    expires_at: datetime | None
    renew: str
    items: list[Item]
    left_out: int = 0
    refused: list[str] = field(default_factory=list)


def load_offer(path: Path) -> Offer:
    """Read the controller's list."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        offer = Offer(str(data["incident"]), read_time(data["expires_at"]), str(data["renew"]), [],
                      int(data.get("left_out") or 0))
        for entry in data["objects"]:
            key, prefix = str(entry["key"]), f"{offer.incident}/"
            name = local_name(key.removeprefix(prefix)) if key.startswith(prefix) else None
            if name is None:
                offer.refused.append(key)
            else:
                offer.items.append(Item(name, int(entry["size"]), str(entry["url"])))
    except FileNotFoundError:
        raise PullError("No artifacts are offered on this host: the operator has switched that off, or it was set up "
                        "by an older version.") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PullError(f"The list of artifacts cannot be used ({error!r}): have it written again.") from None
    return offer


def local_name(key: str) -> str | None:
    """A relative path that leads nowhere else; None for a key that is no such path."""
    parts = key.split("/")
    if any(part in ("", ".", "..") or part.startswith(".part-") or len(os.fsencode(part)) > 240
           or not part.isprintable() or "\\" in part for part in parts):
        return None
    return key


class Puller:
    """Gets artifacts. `say` gets a line for each."""

    def __init__(self, offer: Offer, folder: Path, say: Callable[[str], None]) -> None:
        self.offer, self.folder, self.say = offer, folder, say
        self.sums: dict[str, str] = {}

    def missing(self, items: Sequence[Item]) -> list[Item]:
        return [item for item in items if not self._is_there(item)]

    def _is_there(self, item: Item) -> bool:
        # It got its name when it was whole and verified, and it is root's and read-only.
        path = self.folder / item.name
        return path.is_file() and path.stat().st_size == item.size

    def pull(self, items: Sequence[Item]) -> None:
        """Get all of them, as far as it goes."""
        wanted = {item.name for item in items}
        folders = {item.name.rpartition("/")[0] for item in items}
        # Lists of hashes first, since everything else is held against them; a list is held against its marker.
        first = [item for item in self.offer.items if item.name.rpartition("/")[2] in (MARKER, SUMS)
                 and any(folder.startswith(item.name.rpartition("/")[0].removesuffix("/analyst"))
                         for folder in folders)]
        for item in sorted(first, key=lambda item: item.name.endswith(SUMS)):
            self._one(item, quiet=item.name not in wanted)
        self._read_sums(first)
        rest = [item for item in items if item not in first]
        for position, item in enumerate(rest, 1):
            self._one(item, position=f"{position} of {len(rest)}")

    def _read_sums(self, first: Sequence[Item]) -> None:
        for item in first:
            folder, _slash, base = item.name.rpartition("/")
            if base != SUMS or not (self.folder / item.name).is_file():
                continue
            if folder.endswith("/analyst"):
                folder = folder.removesuffix("/analyst")  # its names start one folder higher
            elif not self._is_the_markers(folder):
                self.say(f"WARNING: {item.name} is not the list that {folder}/{MARKER} names; hashes are not compared")
                continue
            for line in (self.folder / item.name).read_text(encoding="utf-8", errors="replace").splitlines():
                sha256, _blank, name = line.partition("  ")
                if len(sha256) == 64 and name:
                    self.sums[f"{folder}/{name}"] = sha256

    def _is_the_markers(self, folder: str) -> bool:
        try:
            marker = json.loads((self.folder / folder / MARKER).read_text(encoding="utf-8"))
            expected = str(marker["sha256sums_sha256"])
        except (OSError, ValueError, KeyError, TypeError):
            return True  # nothing says anything else
        return hashlib.sha256((self.folder / folder / SUMS).read_bytes()).hexdigest() == expected

    def _one(self, item: Item, *, position: str = "", quiet: bool = False) -> None:
        if self._is_there(item):
            if not quiet:
                self.say(f"{item.name}: is there")
            return
        path = self.folder / item.name
        part = path.with_name(f".part-{hashlib.sha256(item.name.encode()).hexdigest()[:24]}")
        expected = self.sums.get(item.name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            resumed = self._fetch(item, part)
            checked = self._verify(item, part, expected)
            part.chmod(0o444)
            part.rename(path)
        except Spoiled as error:
            with suppress(OSError):
                part.unlink()
            self.say(f"{item.name}: NOT taken: {error}")
            return
        except OSError as error:
            self.say(f"{item.name}: NOT taken: {error.strerror or error}")
            return
        self.say(f"{item.name}: {item.size} bytes{f' ({position})' if position else ''}, {checked}"
                 + (f", gone on with behind {resumed} bytes" if resumed else ""))

    def _verify(self, item: Item, part: Path, expected: str | None) -> str:
        if part.stat().st_size != item.size:
            raise Spoiled(f"{part.stat().st_size} bytes were received instead of {item.size}")
        if expected is None:
            return "size verified (no list has its hash)"
        found, _size = digest(part)
        if found != expected:
            raise Spoiled(f"its SHA-256 is {found}, and the list says {expected}")
        return "SHA-256 verified"

    def _fetch(self, item: Item, part: Path) -> int:
        """Fill the partial file up, over as many connections as it takes; how much of it was there."""
        there = part.stat().st_size if part.exists() else 0
        if there > item.size:
            part.unlink()
            there = 0
        part.touch()
        why = ""
        for attempt in range(TRIES):
            if part.stat().st_size == item.size:
                return there
            if attempt:
                time.sleep(min(8.0, 0.5 * 2 ** attempt))
            why = self._receive(item, part)
        if part.stat().st_size == item.size:
            return there
        raise OSError(f"the connection broke {TRIES} times ({why}); once more goes on behind {part.stat().st_size} "
                      "bytes")

    def _receive(self, item: Item, part: Path) -> str:
        """One connection; why it ended before the end, or nothing."""
        have = part.stat().st_size
        request = urllib.request.Request(item.url, headers={"Range": f"bytes={have}-"} if have else {})  # noqa: S310
        try:
            with urllib.request.build_opener().open(request, timeout=TIMEOUT) as answer:
                goes_on = answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
                with part.open("ab" if goes_on else "wb") as handle:
                    # One byte more than there should be is enough to know that it is something else.
                    while chunk := answer.read(min(CHUNK, item.size + 1 - handle.tell())):
                        handle.write(chunk)
                    if handle.tell() > item.size:
                        raise Spoiled(f"there is more of it than the {item.size} bytes that were offered")
        except urllib.error.HTTPError as error:
            return self._refused(item, error)
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
            return type(error).__name__
        return ""

    def _refused(self, item: Item, error: urllib.error.HTTPError) -> str:
        """Nothing to try again for, or the status of what passes."""
        said = error.read(4096).decode("utf-8", "replace")
        if error.code in (400, 401, 403):
            raise PullError(self.expired_sentence() if self.is_expired() or "xpired" in said else (
                "S3 refuses the addresses of the case's artifacts: the controller's policy does not allow them "
                f"(LendArtifactsOfACase), or they are no longer good. {self._how()}"))
        if error.code == 404:
            raise Spoiled("it is no longer in the bucket")
        return f"HTTP {error.code}"

    def is_expired(self) -> bool:
        return self.offer.expires_at is not None and datetime.now(timezone.utc) >= self.offer.expires_at

    def expired_sentence(self) -> str:
        until = f" at {self.offer.expires_at:%Y-%m-%d %H:%M UTC}" if self.offer.expires_at else ""
        return f"The addresses of the case's artifacts have expired{until if self.is_expired() else ''}. {self._how()}"

    def _how(self) -> str:
        return f"On the controller, this renews them: {self.offer.renew}"


def chosen(items: Sequence[Item], patterns: Sequence[str]) -> list[Item]:
    """Those whose name, or the end of it, matches one of the patterns; all without one."""
    if not patterns:
        return list(items)
    return [item for item in items
            if any(fnmatch.fnmatchcase(item.name, pattern) or fnmatch.fnmatchcase(item.name, f"*/{pattern}")
                   or item.name.startswith(f"{pattern.rstrip('/')}/") for pattern in patterns)]


def _say(text: str) -> None:
    tell("".join(char if char.isprintable() else "?" for char in text))


def main(argv: Sequence[str] | None = None) -> int:
    """Get what is chosen, or list it."""
    parser = argparse.ArgumentParser(
        prog="dfir-pull", description="Get the artifacts of this case onto the host, into /srv/dfir/case.")
    parser.add_argument("patterns", nargs="*", metavar="NAME", help="which ones: a name, its end, a folder, or a shell "
                        "pattern such as '*.timeline.csv' (default: all)")
    parser.add_argument("--list", action="store_true", help="only show what there is")
    parser.add_argument("--offer", type=Path, default=Path("/var/lib/dfir/artifacts.json"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, default=Path("/srv/dfir/case"), help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    try:
        offer = load_offer(options.offer)
        puller = Puller(offer, options.folder, _say)
        return _work(offer, puller, options)
    except PullError as error:
        tell(str(error), error=True)
        return EX_FAILED


def _work(offer: Offer, puller: Puller, options: Any) -> int:
    items = chosen(offer.items, options.patterns)
    if not items:
        raise PullError("No artifact has such a name: dfir-pull --list shows what there is." if options.patterns else
                        f"There are no artifacts of {offer.incident} yet.")
    missing = puller.missing(items)
    if options.list:
        for item in items:
            _say(f"{item.size:>15}  {'to come' if item in missing else 'here   '}  {item.name}")
        return EX_OK
    if missing and puller.is_expired():
        raise PullError(puller.expired_sentence())
    needed, free = sum(item.size for item in missing), shutil.disk_usage(options.folder).free
    if needed + ROOM > free:
        raise PullError(f"The host's disk has not enough room: {needed} bytes are to come and {free} are free. Choose "
                        "what you need (dfir-pull NAME...).")
    puller.pull(items)
    failed = len(puller.missing(items))
    for key in offer.refused:
        _say(f"not taken, its name is no path of ours: {key}")
    if offer.left_out:
        _say(f"{offer.left_out} more objects of {offer.incident} are not offered (see the documentation)")
    _say(f"{len(items) - failed} of {len(items)} artifacts of {offer.incident} are in {options.folder}")
    return EX_FAILED if failed else EX_OK
