# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Upload finished artifacts, each once, and the completion marker last: `dfir-forensics upload`.

One pass over the folders. A timer starts it every few minutes, the watchdog until it says that all is there. It finds
out by itself whether the work is over: then the last files, the list of hashes and `complete.json` follow.

Exit codes: 0 everything that is finished is uploaded (and, when the work is over, the marker too), 75 try again, 1
somebody must act first (the store refuses the host, or its settings are broken).
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import stat
import time
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from .console import tell
from .s3_put import HAS_BOTOCORE, PART, SINGLE_LIMIT, UploadError, digest, put
from .watchdog import Ending, Request, RequestError, ending, load_request, marker

EX_OK, EX_PERMANENT, EX_TEMPORARY = 0, 1, 75
MARKER, SUMS, OUTCOME = "complete.json", "sha256sums.txt", "outcome.json"
ANALYST = "analyst/"
SETTLED = 15.0  # seconds without a change until a file of the analyst counts as finished


@dataclass
class Sent:
    """What is known of one file: `sending` is written before the first try, so that an answer that got lost is not
    taken for somebody else's object."""

    key: str
    size: int
    mtime_ns: int
    sha256: str
    state: str = "sending"  # sending | done | conflict
    version: int = 1


@dataclass
class State:
    """The uploader's memory; it alone writes it."""

    path: Path
    files: dict[str, Sent] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> State:
        """The state as it was left; a missing or torn file is an empty state, and S3 refuses what is there already."""
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            return cls(path, {name: Sent(**entry) for name, entry in data["files"].items()})
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return cls(path)

    def save(self) -> None:
        """Replace the file in one step."""
        write_json(self.path, {"files": {name: asdict(sent) for name, sent in self.files.items()}})

    def done(self) -> list[Sent]:
        return [sent for sent in self.files.values() if sent.state == "done"]

    def conflicts(self) -> list[str]:
        return sorted(name for name, sent in self.files.items() if sent.state == "conflict")


def write_json(path: Path, data: Any) -> None:
    """Write a JSON file that is complete or not there."""
    partial = path.with_name(f".{path.name}.new")
    with partial.open("w", encoding="utf-8") as handle:
        json.dump(data, handle, indent=1)
        handle.flush()
        os.fsync(handle.fileno())
    partial.replace(path)


@dataclass(frozen=True)
class Folders:
    """Where things are, inside the container as on the host."""

    results: Path
    analyst: Path
    work: Path  # where the analysis leaves its own account of the outcome
    own: Path  # the uploader's own folder: state, lock, how the work ended, the marker

    def finished(self, *, final: bool, now: float) -> Iterator[tuple[str, Path]]:
        """Name and path of every finished file; `final` takes the analyst's files without waiting for quiet."""
        for path in _regular_files(self.results):
            yield path.relative_to(self.results).as_posix(), path
        for path in _regular_files(self.analyst):
            if final or now - path.lstat().st_mtime >= SETTLED:
                yield ANALYST + os.fsencode(path.relative_to(self.analyst)).decode("utf-8", "surrogateescape"), path


def _regular_files(folder: Path) -> Iterator[Path]:
    """Regular files below a folder, in order; hidden ones are unfinished, links lead elsewhere."""
    for base, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(base) / name
            if not name.startswith(".") and stat.S_ISREG(path.lstat().st_mode):
                yield path


def object_name(name: str, version: int = 1) -> str:
    """The part of an object's key that comes from a file's name: anything unusual is percent-encoded."""
    safe = urllib.parse.quote(os.fsencode(name), safe="/ !'()*._-+=,@")
    return safe if version == 1 else f"{safe}.{version}"


class Uploader:
    """One pass. `say` gets a line of progress for each file."""

    def __init__(self, client: Any, request: Request, folders: Folders, say: Callable[[str], None], *,
                 single_limit: int = SINGLE_LIMIT, part: int = PART) -> None:
        self.client, self.request, self.folders, self.say = client, request, folders, say
        self.state = State.load(folders.own / "state.json")
        self.failures: list[UploadError] = []
        self._limits = {"single_limit": single_limit, "part": part}

    def run(self, now: datetime) -> int:
        """Upload what is finished; when the work is over also the list of hashes and the marker."""
        stamp = self.folders.own / "complete"
        if stamp.exists():
            self.say("everything was uploaded before, the marker included")
            return EX_OK
        end = ending(self.request, self.folders.own / "ended", self.folders.work / OUTCOME, now)
        over = end is not None
        waiting = [(name, path) for name, path in self.folders.finished(final=over, now=now.timestamp())
                   if name not in (MARKER, SUMS) and self._is_new(name, path)]
        waiting.sort(key=lambda item: item[0] == "summary.json")  # it speaks of the others: last of them
        for position, (name, path) in enumerate(waiting, 1):
            self._send(name, path, f"{position} of {len(waiting)}")
            if self._hopeless():
                break
        # At the deadline the marker is written whatever is missing: the host is about to end.
        late = self.request.deadline is not None and now >= self.request.deadline
        if end is None or (self.failures and not late):
            return self._exit_code()
        return self._finish(end, stamp, now)

    def _hopeless(self) -> bool:
        return any(error.kind == "permanent" for error in self.failures) or len(self.failures) >= 3

    def _exit_code(self) -> int:
        if not self.failures:
            return EX_OK
        return EX_PERMANENT if any(error.kind == "permanent" for error in self.failures) else EX_TEMPORARY

    def _is_new(self, name: str, path: Path) -> bool:
        sent = self.state.files.get(name)
        if sent is None or sent.state == "sending":
            return True
        info = path.lstat()
        return (sent.size, sent.mtime_ns) != (info.st_size, info.st_mtime_ns)

    def _send(self, name: str, path: Path, position: str) -> bool:
        """Upload one file under a name that is its own; failures are kept for the end of the pass."""
        started = time.monotonic()
        info = path.lstat()
        sha256, size = digest(path)
        sent = self.state.files.get(name)
        if sent is None:
            sent = Sent("", size, info.st_mtime_ns, sha256)
        elif sent.sha256 != sha256:  # it changed since: both stay, the newer one under the next number
            sent = Sent("", size, info.st_mtime_ns, sha256, version=sent.version + 1)
        elif sent.state != "sending":
            sent.mtime_ns = info.st_mtime_ns  # touched, not changed
            self.state.save()
            return True
        tried_before = bool(sent.key)
        sent.key = self.request.prefix + object_name(name, sent.version)
        self.state.files[name] = sent
        self.state.save()
        try:
            put(self.client, self.request.bucket, sent.key, path, sha256, size, **self._limits)
            sent.state = "done"
        except UploadError as error:
            if error.kind == "there":
                # Only this host may write here. If it tried this very content before, that try arrived.
                sent.state = "done" if tried_before else "conflict"
                self.say(f"{sent.key}: is there already" + ("" if tried_before else ", with unknown content"))
            else:
                if error.kind == "unproven":
                    sent.version, sent.key = sent.version + 1, ""
                self.failures.append(error)
                self.say(f"not uploaded ({error.kind}): {error}")
                self.state.save()
                return False
        self.state.save()
        if sent.state == "done":
            took = time.monotonic() - started
            self.say(f"uploaded {sent.key} ({position}, {size / 1048576:.1f} MiB in {took:.1f} s, SHA-256 verified)")
        return True

    def _finish(self, end: Ending, stamp: Path, now: datetime) -> int:
        """The list of hashes and the marker. What could not be uploaded by the deadline is named in the marker."""
        lacking = sorted({error.args[0].split(":")[0].removeprefix(self.request.prefix) for error in self.failures
                          if not error.args[0].startswith(self.request.prefix + ANALYST)})
        self.failures.clear()
        sums = self._sums()
        if not all(self._send(name, path, "list of hashes") for name, path in sums if self._is_new(name, path)):
            return self._exit_code()
        # Names that the analyst chose may come from the evidence: they stay on the host, their number is enough.
        lacking += [name for name in self.state.conflicts() if not name.startswith(ANALYST)]
        done = self.state.done()
        path = self.folders.own / MARKER
        if not path.exists():  # once made it stays as it is: a lost answer must find the same content again
            write_json(path, marker(self.request, end, sums_sha256=digest(sums[0][1])[0], uploaded=len(done),
                                    size=sum(sent.size for sent in done), missing=lacking, now=now))
        if not self._send(MARKER, path, "completion marker"):
            return self._exit_code()
        stamp.touch()
        self.say(f"all is uploaded: {self.request.prefix}{MARKER} says {json.loads(path.read_text())['outcome']}")
        return EX_OK

    def _sums(self) -> list[tuple[str, Path]]:
        """Lists of SHA-256: the analysis' own, or one of what was uploaded; another one of the analyst's files."""
        results: list[str] = []
        analyst: list[str] = []
        for sent in sorted(self.state.done(), key=lambda sent: sent.key):
            name = sent.key.removeprefix(self.request.prefix)
            if name in (MARKER, SUMS, ANALYST + SUMS):
                continue
            (analyst if name.startswith(ANALYST) else results).append(f"{sent.sha256}  {name}\n")
        lists = []
        own = self.folders.results / SUMS
        if not own.exists():
            own = self._write_list(SUMS, results)
        lists.append((SUMS, own))
        if analyst:
            lists.append((ANALYST + SUMS, self._write_list("analyst-" + SUMS, analyst)))
        return lists

    def _write_list(self, name: str, lines: list[str]) -> Path:
        path = self.folders.own / name
        text = "".join(lines)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
        return path


def make_client(request: Request) -> Any:
    """An S3 client with bounded tries and time-outs; credentials come from the metadata service and refresh."""
    import botocore.session
    from botocore.config import Config

    session = botocore.session.get_session()
    session.set_config_variable("metadata_service_timeout", 3)
    session.set_config_variable("metadata_service_num_attempts", 4)
    return session.create_client(
        "s3", region_name=request.region, endpoint_url=request.endpoint_url,
        config=Config(connect_timeout=10, read_timeout=60, retries={"mode": "standard", "total_max_attempts": 5}))


def _say(text: str) -> None:
    # A name from the evidence must not end a line of the log or steer a terminal.
    tell("".join(char if char.isprintable() else "?" for char in text))


def main(argv: Sequence[str] | None = None) -> int:
    """Run one pass and return its exit code."""
    parser = argparse.ArgumentParser(prog="dfir-forensics upload", description="Upload finished artifacts once.")
    parser.add_argument("--request", type=Path, default=Path("/etc/dfir/request.json"))
    parser.add_argument("--results", type=Path, default=Path("/srv/dfir/results"))
    parser.add_argument("--analyst", type=Path, default=Path("/srv/dfir/analyst"))
    parser.add_argument("--work", type=Path, default=Path("/srv/dfir/work"), help="where outcome.json is")
    parser.add_argument("--own", type=Path, default=Path("/srv/dfir/upload"), help="the uploader's own folder")
    parser.add_argument("--deadline-flag", type=Path, default=Path("/run/dfir/deadline"),
                        help="when this file exists the time is up, whatever the clock says")
    options = parser.parse_args(argv)
    if not HAS_BOTOCORE:
        _say("boto3 is missing: run this inside the analyst-tools image")
        return EX_PERMANENT
    try:
        request = load_request(options.request)
        with (options.own / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            folders = Folders(options.results, options.analyst, options.work, options.own)
            now = datetime.now(timezone.utc)
            if request.deadline and options.deadline_flag.exists():
                now = max(now, request.deadline)
            return Uploader(make_client(request), request, folders, _say).run(now)
    except RequestError as error:
        _say(str(error))
        return EX_PERMANENT
    except OSError as error:
        _say(f"the host's own disk refused: {error}")
        return EX_TEMPORARY


if __name__ == "__main__":
    raise SystemExit(main())
