# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Volumes and snapshots of every region as sparse files below one folder.

```
<root>/<region>/volumes/<volume id>.raw
<root>/<region>/snapshots/<snapshot id>/{data,map,sums,meta.json}
<root>/<region>/client-tokens/<sha256 of a token>.json
```
A new thing is made under a name with a leading dot and renamed when it is whole, so a folder left by a killed process
can be opened again. No data is held in memory.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import threading
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lab.ebs import sparse
from lab.ebs.snapshot import Snapshot, write_json

OPEN_SNAPSHOTS = 128  # kept open; each holds three files
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")


class StoreError(Exception):
    """What the store cannot do; the message is one sentence."""


class SnapshotMissing(StoreError):
    """There is no such snapshot in that region."""


class VolumeMissing(StoreError):
    """There is no such volume in that region."""


class AlreadyThere(StoreError):
    """The id is taken."""


class WrongState(StoreError):
    """The snapshot is pending where it must be completed, or the other way round."""


class BadSize(StoreError):
    """A volume smaller than its snapshot, or a child smaller than its parent."""


class Store:
    """Implements `contracts.BlockStore`, and what EBS direct needs beyond it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._lock = threading.RLock()
        self._open: OrderedDict[tuple[str, str], Snapshot] = OrderedDict()
        root.mkdir(parents=True, exist_ok=True)
        for partial in root.glob("*/*/.partial-*"):  # what a killed process left
            _remove(partial)

    # Volumes

    def create_volume(self, region: str, volume_id: str, gib: int, snapshot_id: str | None) -> Path:
        """A new volume, empty or with a completed snapshot's content; the path of its raw file."""
        target = self._volume(region, volume_id)
        if target.exists():
            raise AlreadyThere(f"The volume {volume_id} exists in {region} already.")
        size = gib << 30
        if not self.holds(gib):
            raise BadSize(f"The file system below {self.root} cannot have a file of {gib} GiB.")
        with self._partial(target) as partial:
            if snapshot_id is None:
                sparse.create(partial, size)
            else:
                snapshot = self.completed(region, snapshot_id)
                if gib < snapshot.gib:
                    raise BadSize(f"A volume of {gib} GiB cannot hold {snapshot_id}, which has {snapshot.gib} GiB.")
                sparse.copy(snapshot.folder / "data", partial, size)
        return target

    def volume_path(self, region: str, volume_id: str) -> Path:
        """The raw file of a volume."""
        path = self._volume(region, volume_id)
        if not path.exists():
            raise VolumeMissing(f"There is no volume {volume_id} in {region}.")
        return path

    def delete_volume(self, region: str, volume_id: str) -> None:
        """Remove a volume's file."""
        self.volume_path(region, volume_id).unlink(missing_ok=True)

    # Snapshots

    def snapshot_volume(self, region: str, volume_id: str, snapshot_id: str) -> None:
        """A completed snapshot of a volume as it is now; its written blocks are those that are no holes."""
        volume = self.volume_path(region, volume_id)
        with self._new_snapshot(region, snapshot_id) as partial:
            sparse.copy(volume, partial / "data")
            Snapshot.prepare(partial, volume.stat().st_size >> 30, pending=False)
            Snapshot(partial).mark_extents()

    def copy_snapshot(self, source_region: str, source_id: str, region: str, snapshot_id: str) -> None:
        """A copy, in the same or another region. Completed snapshots never change, so it shares the files."""
        source = self.completed(source_region, source_id)
        with self._new_snapshot(region, snapshot_id) as partial:
            for name in ("data", "map", "sums"):
                os.link(source.folder / name, partial / name)
            Snapshot.prepare(partial, source.gib, pending=False)

    def delete_snapshot(self, region: str, snapshot_id: str) -> None:
        """Remove a snapshot; who is reading a block of it just now still gets that block."""
        folder = self._snapshot(region, snapshot_id)
        with self._lock:
            self._open.pop((region, snapshot_id), None)
            if not folder.exists():
                raise SnapshotMissing(f"There is no snapshot {snapshot_id} in {region}.")
            gone = folder.with_name(f".partial-{snapshot_id}-{os.urandom(4).hex()}")
            folder.rename(gone)
        shutil.rmtree(gone)

    def has_snapshot(self, region: str, snapshot_id: str) -> bool:
        """Whether there is one, pending or completed."""
        return (self._snapshot(region, snapshot_id) / "meta.json").exists()

    def allocated_blocks(self, region: str, snapshot_id: str) -> int:
        """How many blocks were written."""
        return self.open(region, snapshot_id).allocated()

    def start_snapshot(
        self, region: str, snapshot_id: str, gib: int, *, parent: str | None = None, timeout: float | None = None
    ) -> None:
        """A pending snapshot, empty or beginning as its parent. `timeout`: seconds allowed between writes."""
        with self._new_snapshot(region, snapshot_id) as partial:
            if parent is None:
                sparse.create(partial / "data", gib << 30)
                Snapshot.prepare(partial, gib, pending=True, timeout=timeout)
                return
            source = self.completed(region, parent)
            if gib < source.gib:
                raise BadSize(f"A snapshot of {gib} GiB cannot continue {parent}, which has {source.gib} GiB.")
            sparse.copy(source.folder / "data", partial / "data", gib << 30)
            sparse.copy(source.folder / "map", partial / "map")
            sparse.copy(source.folder / "sums", partial / "sums")
            Snapshot.prepare(partial, gib, pending=True, parent=parent, timeout=timeout)
            Snapshot(partial).inherit()

    def holds(self, gib: int) -> bool:
        """Whether the file system below can have a file of that size (ext4 ends just short of 16 TiB)."""
        probe = self.root / f".partial-size-{os.urandom(4).hex()}"
        try:
            sparse.create(probe, gib << 30)
        except OSError as error:
            if error.errno in (errno.EFBIG, errno.EINVAL):
                return False
            raise
        finally:
            probe.unlink(missing_ok=True)
        return True

    def open(self, region: str, snapshot_id: str) -> Snapshot:
        """The snapshot, pending or completed."""
        key = (region, snapshot_id)
        with self._lock:
            snapshot = self._open.get(key)
            if snapshot is None:
                folder = self._snapshot(region, snapshot_id)
                try:
                    snapshot = Snapshot(folder)
                except FileNotFoundError:
                    raise SnapshotMissing(f"There is no snapshot {snapshot_id} in {region}.") from None
                self._open[key] = snapshot
                while len(self._open) > OPEN_SNAPSHOTS:
                    # A pending one carries the lock of its writers: it must stay the only object of its kind.
                    old = next((k for k, s in self._open.items() if not s.pending), None)
                    if old is None or old == key:
                        break
                    del self._open[old]
            self._open.move_to_end(key)
            return snapshot

    def completed(self, region: str, snapshot_id: str) -> Snapshot:
        """The snapshot, which must be completed."""
        snapshot = self.open(region, snapshot_id)
        if snapshot.pending:
            raise WrongState(f"The snapshot {snapshot_id} is still pending.")
        return snapshot

    def complete_snapshot(self, region: str, snapshot_id: str) -> None:
        """Seal a pending snapshot."""
        snapshot = self.open(region, snapshot_id)
        if not snapshot.pending:
            raise WrongState(f"The snapshot {snapshot_id} is completed already.")
        snapshot.complete()

    def erase_block(self, region: str, snapshot_id: str, index: int) -> None:
        """Make a block of a pending snapshot unwritten: how a child comes to have a block *removed*."""
        if not self.open(region, snapshot_id).erase(index):
            raise WrongState(f"The snapshot {snapshot_id} is completed already.")

    # What EBS direct remembers of StartSnapshot calls, and its secret

    def recall_start(self, region: str, token: str) -> dict[str, Any] | None:
        """What `remember_start` was told for this client token."""
        try:
            return dict(json.loads(self._token(region, token).read_text()))
        except FileNotFoundError:
            return None

    def remember_start(self, region: str, token: str, data: dict[str, Any]) -> None:
        """Keep the answer to a StartSnapshot for its repetition."""
        path = self._token(region, token)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, data)

    def secret(self) -> bytes:
        """32 random bytes that last as long as this store: what tokens are authenticated with."""
        path = self.root / "token.key"
        with self._lock:
            if not path.exists():
                partial = path.with_name(f".token.key.{os.getpid()}")
                with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                    file.write(os.urandom(32))
                partial.replace(path)
            return path.read_bytes()

    def _region(self, region: str) -> Path:
        if not _NAME.fullmatch(region):
            raise StoreError(f"{region!r} is not the name of a region.")
        return self.root / region

    def _volume(self, region: str, volume_id: str) -> Path:
        if not _NAME.fullmatch(volume_id):
            raise StoreError(f"{volume_id!r} is not the id of a volume.")
        return self._region(region) / "volumes" / f"{volume_id}.raw"

    def _snapshot(self, region: str, snapshot_id: str) -> Path:
        if not _NAME.fullmatch(snapshot_id):
            raise StoreError(f"{snapshot_id!r} is not the id of a snapshot.")
        return self._region(region) / "snapshots" / snapshot_id

    def _token(self, region: str, token: str) -> Path:
        return self._region(region) / "client-tokens" / f"{hashlib.sha256(token.encode()).hexdigest()}.json"

    @contextlib.contextmanager
    def _partial(self, target: Path) -> Iterator[Path]:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".partial-{target.name}-{os.urandom(4).hex()}")
        try:
            yield partial
            with self._lock:
                if target.exists():
                    raise AlreadyThere(f"{target.stem} exists already.")
                partial.rename(target)
        finally:
            _remove(partial)

    @contextlib.contextmanager
    def _new_snapshot(self, region: str, snapshot_id: str) -> Iterator[Path]:
        target = self._snapshot(region, snapshot_id)
        if target.exists():
            raise AlreadyThere(f"The snapshot {snapshot_id} exists in {region} already.")
        with self._partial(target) as partial:
            partial.mkdir()
            yield partial


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
