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
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from .console import tell
from .extend import prolonged
from .s3_put import HAS_BOTOCORE, PART, SINGLE_LIMIT, UploadError, digest, put
from .upload_state import ANALYST, Folders, Sent, State, object_name, write_json
from .watchdog import Ending, Request, RequestError, ending, load_request, marker

EX_OK, EX_PERMANENT, EX_TEMPORARY = 0, 1, 75
MARKER, SUMS, OUTCOME = "complete.json", "sha256sums.txt", "outcome.json"
UNSAVED = "analyst_files"  # what the marker calls files of the analyst that could not be saved
MOST_VERSIONS = 200  # of one file in one pass, until a name is found that is not taken
LAST_LOOKS = 3  # at the end, for what changed while the rest was on its way


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
        waiting = self._waiting(now, final=end is not None)
        for _look in range(LAST_LOOKS if end else 1):
            self._send_all(waiting)
            if self.failures or end is None:
                break
            waiting = self._waiting(now, final=True)
        if self.state.busy and not self.failures:
            self.state.save()
        # At the deadline the marker is written whatever is missing: the host is about to end.
        late = self.request.deadline is not None and now >= self.request.deadline
        if end is None or (self.failures and not late):
            return self._exit_code()
        return self._finish(end, stamp, now, [name for name, _path in waiting if not self.state.is_done(name)])

    def push(self, names: Iterable[str]) -> int:
        """Upload chosen files of the analyst now: who chose them says that they are finished."""
        if (self.folders.own / "complete").exists():
            self.say("the work on this host has ended, and its completion marker is written: nothing can be added")
            return EX_PERMANENT
        for name in names:
            kept = dict(self.folders.files())
            path = kept.get(ANALYST + name)
            if path is None:
                self.say(f"{name} is no file in the analyst's folder that is kept (hidden files and links are not)")
                return EX_PERMANENT
            if self.state.is_new(ANALYST + name, path):
                self._send(ANALYST + name, path, "pushed")
            sent = self.state.files.get(ANALYST + name)
            if sent is not None and sent.state == "done":
                self.say(f"saved: s3://{self.request.bucket}/{sent.key}")
        return self._exit_code()

    def _waiting(self, now: datetime, *, final: bool) -> list[tuple[str, Path]]:
        """What is to be sent, in order; the analyst's files without waiting for quiet in the end."""
        found = [(name, path) for name, path in self.folders.files()
                 if name not in (MARKER, SUMS) and self.state.is_new(name, path)
                 and (final or not name.startswith(ANALYST) or self.state.is_ripe(name, path, now.timestamp()))]
        return sorted(found, key=lambda item: item[0] == "summary.json")  # it speaks of the others: last of them

    def _send_all(self, waiting: Sequence[tuple[str, Path]]) -> None:
        for position, (name, path) in enumerate(waiting, 1):
            self._send(name, path, f"{position} of {len(waiting)}")
            if self._hopeless():
                break

    def _hopeless(self) -> bool:
        return any(error.kind == "permanent" for error in self.failures) or len(self.failures) >= 3

    def _exit_code(self) -> int:
        if not self.failures:
            return EX_TEMPORARY if self.state.forgetful else EX_OK
        return EX_PERMANENT if any(error.kind == "permanent" for error in self.failures) else EX_TEMPORARY

    def _fail(self, error: UploadError) -> bool:
        self.failures.append(error)
        self.say(f"not uploaded ({error.kind}): {error}")
        self.state.save()
        return False

    def _send(self, name: str, path: Path, position: str) -> bool:
        """Upload one file under a name that is its own; failures are kept for the end of the pass."""
        started = time.monotonic()
        try:
            info = path.lstat()
            sha256, size = digest(path)
        except FileNotFoundError:  # removed since it was listed
            return True
        except OSError as error:
            return self._fail(UploadError("temporary", f"{name}: cannot be read: {error.strerror or error}"))
        sent = self.state.files.get(name)
        if sent is None:
            sent = Sent("", size, info.st_mtime_ns, sha256)
        elif sent.sha256 != sha256:  # it changed since: both stay, the newer one under the next number
            sent = Sent("", size, info.st_mtime_ns, sha256, version=sent.version + 1)
        elif sent.state != "sending":
            sent.mtime_ns = info.st_mtime_ns  # touched, not changed
            self.state.save()
            return True
        self.state.busy.pop(name, None)
        for _try in range(MOST_VERSIONS if name.startswith(ANALYST) else 1):
            if not self._put(name, path, sent):
                return False
            if sent.state == "done":
                break
            # Never lost and never overwritten: what the analyst changed goes beside whatever has that name.
            sent.version += 1 if name.startswith(ANALYST) else 0
        self.state.save()
        if sent.state == "done":
            took = time.monotonic() - started
            self.say(f"uploaded {sent.key} ({position}, {size / 1048576:.1f} MiB in {took:.1f} s, SHA-256 verified)")
        return True

    def _put(self, name: str, path: Path, sent: Sent) -> bool:
        """One try under one key; false when the file has to be tried again later."""
        key = self.request.key(object_name(name, sent.version))
        taken = {other.key for other_name, other in self.state.files.items() if other_name != name}
        if name.startswith(ANALYST) and key in taken:
            sent.state = "conflict"
            return True
        tried_before = sent.key == key
        sent.key, sent.state = key, "sending"
        self.state.files[name] = sent
        self.state.save()
        try:
            put(self.client, self.request.bucket, key, path, sent.sha256, sent.size, **self._limits)
            sent.state = "done"
        except UploadError as error:
            if error.kind == "there":
                # Only this host may write here. If it tried this very content before, that try arrived.
                sent.state = "done" if tried_before else "conflict"
                self.say(f"{key}: is there already" + ("" if tried_before else ", with unknown content"))
                return True
            if error.kind == "unproven":
                sent.version, sent.key = sent.version + 1, ""
            return self._fail(error)
        except OSError as error:
            return self._fail(UploadError("temporary", f"{name}: cannot be read: {error.strerror or error}"))
        return True

    def _finish(self, end: Ending, stamp: Path, now: datetime, unsent: Sequence[str]) -> int:
        """The list of hashes and the marker. What could not be uploaded by the deadline is named in the marker."""
        # Names that the analyst chose may come from the evidence: they stay on the host, their number is enough.
        unsent = sorted({*unsent, *self.state.conflicts()})
        unsaved = sum(name.startswith(ANALYST) for name in unsent)
        lacking = [name for name in unsent if not name.startswith(ANALYST)] + ([UNSAVED] if unsaved else [])
        self.failures.clear()
        sums = self._sums()
        if not all(self._send(name, path, "list of hashes") for name, path in sums if self.state.is_new(name, path)):
            return self._exit_code()
        done = self.state.done()
        path = self.folders.own / MARKER
        if not path.exists():  # once made it stays as it is: a lost answer must find the same content again
            saved = sum(self.state.is_done(name) for name in self.state.files if name.startswith(ANALYST))
            saved -= self.state.is_done(ANALYST + SUMS)
            if saved or unsaved or self.request.mode == "manual":
                end.counts.update(analyst_saved=saved, analyst_unsaved=unsaved)
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
            line = f"{sent.sha256}  {sent.key.removeprefix(self.request.root)}\n"
            (analyst if name.startswith(ANALYST) else results).append(line)
        lists = []
        own = self.folders.results / SUMS
        # The analysis knows files by name alone, and not which snapshot's folder they go to.
        if self.request.folders or not own.exists():
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
    parser.add_argument("--push", nargs="+", metavar="NAME",
                        help="upload these files of the analyst's folder now, and nothing else")
    parser.add_argument("--deadline-flag", type=Path, default=Path("/run/dfir/deadline"),
                        help="when this file exists the time is up, whatever the clock says")
    options = parser.parse_args(argv)
    if not HAS_BOTOCORE:
        _say("boto3 is missing: run this inside the analyst-tools image")
        return EX_PERMANENT
    try:
        request = load_request(options.request)
        request = replace(request, deadline=prolonged(request, options.own))
        with (options.own / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            folders = Folders(options.results, options.analyst, options.work, options.own)
            now = datetime.now(timezone.utc)
            if request.deadline and options.deadline_flag.exists():
                now = max(now, request.deadline)
            uploader = Uploader(make_client(request), request, folders, _say)
            return uploader.push(options.push) if options.push else uploader.run(now)
    except RequestError as error:
        _say(str(error))
        return EX_PERMANENT
    except OSError as error:
        _say(f"the host's own disk refused: {error}")
        return EX_TEMPORARY


if __name__ == "__main__":
    raise SystemExit(main())
