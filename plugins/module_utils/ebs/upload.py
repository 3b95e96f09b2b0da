# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An image or a volume as a new snapshot: StartSnapshot, PutSnapshotBlock for all that is not zeros, CompleteSnapshot.

Each block carries its SHA-256, and the snapshot is completed with the linear digest over them: AWS refuses to complete
anything else. What AWS has confirmed is in a journal beside the image; a run that was stopped goes on there, with the
same snapshot (StartSnapshot answers the same client token with the same one). The journal becomes the manifest of the
new snapshot: the image can be verified against AWS with it.

Uploading is no hot path, so boto3 does it, in threads.
"""

from __future__ import annotations

import base64
import hashlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .blocks import BLOCK_SIZE, GIB, LARGEST_GIB, ZERO_DIGEST, image_size
from .errors import BadInput, Cancelled, EngineError, Exhausted, Mismatch, Missing, NotImageable, Refused
from .image import environment
from .journal import Journal
from .manifest import Identity, Manifest, Outcome, utc_now
from .progress import Meter, Progress
from .rate import RateBudget
from .sinks import data_ranges
from .version import __version__

TOOL = "dfir.aws ebs upload"
SUFFIX = ".upload"
UPLOADS = 16  # blocks under way at once: 8 MiB
PUT_RATE = 980.0  # a second; PutSnapshotBlock has a quota of 1,000 a snapshot
_TRANSIENT = ("ThrottlingException", "RequestThrottledException", "ServiceUnavailable", "InternalServerException")
_POLL = 5.0

Tell = Callable[[Progress], None]
Stop = Callable[[], bool]


@dataclass
class UploadRequest:
    """`path`: a file or a block device. `token`: two uploads of the same image with different tokens give two
    snapshots. `manifest`: default `<path>.upload`. `seconds`: how long to wait for AWS to complete the snapshot."""

    path: Path
    region: str
    description: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    encrypted: bool = False
    kms_key: str = ""
    token: str = ""
    manifest: Path | None = None
    case: str = ""
    account_id: str = ""
    caller: str = ""
    uploads: int = UPLOADS
    rate: float = PUT_RATE
    seconds: float = 3600.0


@dataclass
class UploadResult:
    """`put`: blocks sent in this run. `changed` is False where an earlier run had completed the snapshot."""

    snapshot_id: str
    outcome: Outcome
    manifest: Path
    put: int
    changed: bool


def ebs_boto_client(region: str, *, profile: str | None = None, endpoint_url: str | None = None) -> Any:
    """A boto3 client for EBS direct, with time-outs and bounded retries."""
    try:
        import boto3
    except ImportError:
        raise Missing("Snapshots are uploaded with boto3: install the Python package boto3, and run again.") from None
    session = boto3.session.Session(profile_name=profile, region_name=region)
    return session.client("ebs", endpoint_url=endpoint_url, config=client_config())


def client_config() -> Any:
    """Time-outs, retries and connections of an uploading client."""
    from botocore.config import Config

    retries = {"mode": "standard", "total_max_attempts": 10}
    return Config(connect_timeout=10, read_timeout=60, retries=retries, max_pool_connections=UPLOADS)  # type: ignore[arg-type, unused-ignore]


class Upload:
    """One run. `client` is boto3's for EBS direct; `state_of(snapshot_id)` gives EC2's state and state message."""

    def __init__(
        self,
        client: Any,
        request: UploadRequest,
        state_of: Callable[[str], tuple[str, str]],
        *,
        stop: Stop | None = None,
        tell: Tell | None = None,
    ) -> None:
        if request.kms_key and not request.encrypted:
            raise BadInput("A KMS key needs encrypted: true.")
        if request.uploads < 1 or request.rate <= 0:
            raise BadInput("Uploads at once and rate must be more than zero.")
        self._client, self._request, self._state_of = client, request, state_of
        self._stop, self._tell = stop or (lambda: False), tell
        self._rate = RateBudget(request.rate)
        self._manifest = request.manifest or Path(f"{request.path}{SUFFIX}")
        self._failed = threading.Event()
        self._retries = 0

    def run(self) -> UploadResult:
        """Upload, or find that it was done. The first failure ends it; what AWS has confirmed is kept."""
        fd, size = _open(self._request.path)
        try:
            gib = max(1, -(-size // GIB))
            if gib > LARGEST_GIB:
                raise BadInput(f"{self._request.path} has {gib} GiB; a snapshot has {LARGEST_GIB} at most.")
            if self._manifest.exists():
                return self._there_already(fd, size, gib)
            return self._upload(fd, size, gib)
        finally:
            os.close(fd)

    def _there_already(self, fd: int, size: int, gib: int) -> UploadResult:
        """A complete manifest: the snapshot must be there, and the image what it was."""
        with Manifest(self._manifest) as manifest:
            outcome, identity = manifest.check(), manifest.identity
            if (identity.tool, identity.region, identity.volume_gib) != (TOOL, self._request.region, gib):
                raise BadInput(f"{self._manifest} is of another upload: choose another name for this one's.")
            here = _written(fd, size, self._pause)
            if any(one[:2] != other for one, other in _zipped(here, manifest.records())):
                raise BadInput(f"{self._request.path} has changed since it was uploaded as {identity.snapshot_id}.")
        state, message = self._state_of(identity.snapshot_id)
        if state != "completed":
            raise NotImageable(
                f"The snapshot {identity.snapshot_id} of {self._manifest} is {state or 'gone'} {message}"
            )
        return UploadResult(identity.snapshot_id, outcome, self._manifest, 0, changed=False)

    def _upload(self, fd: int, size: int, gib: int) -> UploadResult:
        request = self._request
        journal, records = self._open_journal(gib)
        session: dict[str, Any] = {"started": utc_now()}
        pool = ThreadPoolExecutor(request.uploads, thread_name_prefix="upload")
        under_way: deque[tuple[int, bytes, Future[None]]] = deque()
        meter = Meter(self._tell, size, 0, lambda: self._retries)
        meter.phase = "uploading"
        snapshot_id, put, kept = journal.identity.snapshot_id, 0, 0
        try:
            sealed = records is not None and self._state_of(snapshot_id)[0] == "completed"
            for index, digest, data in _written(fd, size, self._pause):
                if records is not None:
                    known = next(records, None)
                    if known == (index, digest):
                        kept += 1
                        continue
                    if known is not None:
                        raise self._changed(known[0])
                    records = None
                if sealed:
                    raise self._changed(index)
                while len(under_way) >= request.uploads:
                    _settle(under_way, journal)
                self._wait_for_budget()
                under_way.append((index, digest, pool.submit(self._put, snapshot_id, index, digest, data)))
                put += 1
                if meter.is_due():
                    meter.tell((index + 1) * BLOCK_SIZE, kept + put, 0)
            if records is not None and (known := next(records, None)) is not None:
                raise self._changed(known[0])
            while under_way:
                _settle(under_way, journal)
            journal.sync()
            meter.phase = "completing"
            meter.tell(size, kept + put, 0)
            if not sealed:
                self._complete(snapshot_id, journal, again=not put)
            self._await(snapshot_id)
            outcome = Outcome(image_size=image_size(gib), environment=environment())
            outcome.sinks = [{"kind": "snapshot", "target": f"ebs:{request.region}:{snapshot_id}"}]
            outcome.sessions = [session | {"finished": utc_now(), "put": put, "kept": kept}]
            path = journal.finish(outcome)
        finally:
            self._failed.set()
            pool.shutdown(wait=True, cancel_futures=True)
            while under_way:  # what was confirmed in order is not sent again
                future = under_way[0][2]
                if future.cancelled() or future.exception() is not None:
                    break
                _settle(under_way, journal)
            journal.close()
        return UploadResult(snapshot_id, outcome, path, put, changed=True)

    def _changed(self, index: int) -> Mismatch:
        partial = Journal.partial_path(self._manifest)
        return Mismatch(
            f"{self._request.path} is not what a part of was uploaded, from block {index} on: remove {partial} and run "
            "again for a new snapshot."
        )

    def _open_journal(self, gib: int) -> tuple[Journal, Iterator[tuple[int, bytes]] | None]:
        """The journal, and what it vouches for where a run goes on."""
        partial = Journal.partial_path(self._manifest)
        if partial.exists():
            journal, records = Journal.resume(self._manifest)
            identity, wanted = journal.identity, (TOOL, self._request.region, gib)
            if (identity.tool, identity.region, identity.volume_gib) != wanted:
                journal.close()
                raise BadInput(f"{partial} is of another upload: choose another name for this one's.")
            return journal, records
        request = self._request
        identity = Identity(
            self._start(gib), request.region, gib, account_id=request.account_id, caller=request.caller,
            case=request.case, tool=TOOL, tool_version=__version__
        )  # fmt: skip
        return Journal.begin(self._manifest, identity), None

    def _start(self, gib: int) -> str:
        """StartSnapshot. The token says what is wished: the same wish gets the same pending snapshot."""
        request = self._request
        facts = request.path.stat()
        wish = (str(request.path.resolve()), facts.st_size, facts.st_mtime_ns, gib, request.description,
                sorted(request.tags.items()), request.encrypted, request.kms_key, request.token)  # fmt: skip
        fields: dict[str, Any] = {
            "VolumeSize": gib,
            "ClientToken": hashlib.sha256(repr(wish).encode()).hexdigest(),
            "Description": request.description,
            "Tags": [{"Key": key, "Value": value} for key, value in sorted(request.tags.items())],
            "Timeout": 4320,  # minutes without a block until AWS gives the snapshot up: the most
        }
        if request.encrypted:
            fields["Encrypted"] = True
        if request.kms_key:
            fields["KmsKeyArn"] = request.kms_key
        return str(self._call("start_snapshot", **fields)["SnapshotId"])

    def _put(self, snapshot_id: str, index: int, digest: bytes, data: bytes) -> None:
        if self._failed.is_set():
            raise Cancelled("The run was cancelled.")
        try:
            checksum = base64.b64encode(digest).decode()
            answer = self._call(
                "put_snapshot_block",
                SnapshotId=snapshot_id,
                BlockIndex=index,
                BlockData=data,
                DataLength=BLOCK_SIZE,
                Checksum=checksum,
                ChecksumAlgorithm="SHA256",
            )
            if answer.get("Checksum") != checksum:
                raise Mismatch(f"AWS confirmed block {index} with another SHA-256 than it was sent with.")
        except EngineError as error:
            error.failed_blocks = (index,)
            self._failed.set()
            raise

    def _complete(self, snapshot_id: str, journal: Journal, *, again: bool) -> None:
        """CompleteSnapshot. `again`: a run that was stopped may have done it already; then EC2 will say so."""
        try:
            self._call(
                "complete_snapshot",
                SnapshotId=snapshot_id,
                ChangedBlocksCount=journal.count,
                Checksum=base64.b64encode(bytes.fromhex(journal.linear)).decode(),
                ChecksumAlgorithm="SHA256",
                ChecksumAggregationMethod="LINEAR",
            )
        except Refused as error:
            if not (again and error.reason == "INVALID_SNAPSHOT_ID"):
                raise

    def _await(self, snapshot_id: str) -> None:
        """CompleteSnapshot only begins it: EC2 says when it is done, and whether."""
        until = time.monotonic() + self._request.seconds
        while True:
            state, message = self._state_of(snapshot_id)
            if state == "completed":
                return
            if state == "error":
                raise NotImageable(f"AWS could not complete the snapshot {snapshot_id}: {message or 'no reason given'}")
            if time.monotonic() > until:
                raise Exhausted(f"The snapshot {snapshot_id} is still {state}: run again to go on waiting.")
            self._sleep(_POLL)

    def _call(self, operation: str, **fields: Any) -> dict[str, Any]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            answer: dict[str, Any] = getattr(self._client, operation)(**fields)
        except ClientError as error:
            words = error.response.get("Error", {})
            code, reason = str(words.get("Code", "")), str(error.response.get("Reason", ""))
            kind = Exhausted if code in _TRANSIENT else Refused
            message = f"{operation} was refused: {code}: {words.get('Message') or error.response.get('Message', '')}"
            raise (kind(message) if kind is Exhausted else Refused(message, code, reason)) from error
        except BotoCoreError as error:
            raise Exhausted(f"EBS direct cannot be reached: {error}.") from error
        self._retries += int(answer.get("ResponseMetadata", {}).get("RetryAttempts", 0))
        return answer

    def _wait_for_budget(self) -> None:
        while wait := self._rate.take():
            self._sleep(wait)

    def _sleep(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._pause()
            time.sleep(min(left, 0.5))

    def _pause(self) -> None:
        if self._stop():
            raise Cancelled("The run was cancelled.")


def _open(path: Path) -> tuple[int, int]:
    try:
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        size = os.lseek(fd, 0, os.SEEK_END)
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}.") from error
    if not size:
        os.close(fd)
        raise BadInput(f"{path} is empty.")
    return fd, size


def _written(fd: int, size: int, pause: Callable[[], None]) -> Iterator[tuple[int, bytes, bytes]]:
    """(index, SHA-256, data) of every block that is not zeros; a last part is filled up with zeros."""
    done = -1
    extents: Iterator[tuple[int, int]] = data_ranges(fd, 0, size)
    for start, end in extents:
        for index in range(max(start // BLOCK_SIZE, done + 1), -(-end // BLOCK_SIZE)):
            data = os.pread(fd, BLOCK_SIZE, index * BLOCK_SIZE)
            if len(data) < min(BLOCK_SIZE, size - index * BLOCK_SIZE):
                raise Mismatch(f"The image ended within block {index}: somebody cut it meanwhile.")
            data = data.ljust(BLOCK_SIZE, b"\0")
            digest = hashlib.sha256(data).digest()
            done = index
            if digest != ZERO_DIGEST:
                yield index, digest, data
            pause()


def _zipped(left: Iterator[tuple[int, bytes, bytes]], right: Iterator[tuple[int, bytes]]) -> Iterator[tuple[Any, Any]]:
    """Side by side; the shorter one is filled up."""
    nothing = (-1, b"", b"")
    while True:
        one, other = next(left, nothing), next(right, nothing[:2])
        if one is nothing and other == nothing[:2]:
            return
        yield one, other


def _settle(under_way: deque[tuple[int, bytes, Future[None]]], journal: Journal) -> None:
    """Wait for the oldest block under way, and record it."""
    index, digest, future = under_way[0]
    future.result()
    under_way.popleft()
    journal.append(index, digest)
