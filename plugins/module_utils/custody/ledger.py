# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A ledger that grows: one entry after the other, whoever writes.

Nobody holds a lock. A writer reads the last entry, makes the next with its hash, and writes it under the next number,
which works for one writer only; every other one reads again and tries again. So no two entries follow the same one.
"""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, NamedTuple

from . import entry as entries
from . import signature, stores
from .canonical import canonical, digest, parsed
from .errors import BadInput, Closed, Conflict, StoreError
from .rsa import PublicKey, read_key
from .tries import Tries

ATTEMPTS = 60  # rounds against other writers; each is lost to somebody who wrote
SAID = ("action", "object", "result", "details")  # what one event says once and for all


class Written(NamedTuple):
    """An entry or signature that is there now, and whether this call wrote it."""

    number: int
    sha256: str
    value: dict[str, Any]
    changed: bool


class Artifact(NamedTuple):
    """One object of a case, as it was read."""

    key: str
    size: int
    sha256: str


class Ledger:
    """The ledger of one incident. Not for several threads."""

    def __init__(self, store: stores.Store, incident: str, *, now: Callable[[], datetime] | None = None,
                 pause: Callable[[float], None] = time.sleep) -> None:
        if not entries.like(entries.INCIDENT)(incident):
            raise BadInput("incident is none: letters, digits, '.', '_' and '-', at most 64 of them.")
        self.incident = incident
        self.number, self.sha256 = 0, entries.NOTHING  # the head
        self.closing: Written | None = None
        self._store, self._pause = store, pause
        self._now = now or (lambda: datetime.now(timezone.utc))
        self._last = ""
        self._events: dict[tuple[str, str], Written] = {}
        self._artifacts: dict[str, tuple[int, str]] = {}

    def refresh(self) -> None:
        """Read what was written since. What cannot be read is passed over here, and found by checking the ledger."""
        names = [name for name in self._store.names(stores.folder(self.incident, "entries"), self._last)
                 if stores.number_of(name)]
        for name, body in zip(names, self._store.read_all(names), strict=True):
            if body is None:
                raise StoreError(f"{self._store.place(name)} was there and is gone: check the ledger.")
            self._take(name, body)

    def append(self, told: Mapping[str, Any]) -> Written:
        """Write an entry, or find that its event is recorded.

        :param told: event, phase, action, actor, object, tool, result and details.
        """
        self.refresh()
        return self._append(told)

    def append_all(self, many: Sequence[Mapping[str, Any]]) -> list[Written]:
        """Write those of several entries whose events are not recorded, in whatever words."""
        self.refresh()
        return [self._events.get(_key(told)) or self._append(told, same=False) for told in many]

    def append_tries(self, many: Sequence[Mapping[str, Any]]) -> list[Written]:
        """Write what several entries say that the ledger does not say yet. Events get the names of their tries."""
        return self.append_all(self.named(many))

    def named(self, many: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Of several entries those that are new, with the names of their tries."""
        self.refresh()
        tries = Tries(written.value for written in self._events.values())
        return [told for told in map(tries.named, many) if told]

    def refuse_closed(self) -> None:
        """Raise `Closed` where the case is closed."""
        self.refresh()
        if self.closing:
            raise Closed(f"The case {self.incident} was closed by entry {self.closing.number}: nothing can be added "
                         "to its ledger.")

    def _append(self, told: Mapping[str, Any], *, same: bool = True) -> Written:
        written, tried = None, b""
        for attempt in range(ATTEMPTS):
            if attempt:
                self.refresh()
            written = self._events.get(_key(told))
            if written:
                if same:
                    self._same(written, told)
                # An answer may be lost after the write: what is there is then what this call tried to write.
                return written._replace(changed=written.sha256 == digest(tried))
            tried = canonical(self._next(told))
            name = stores.numbered(self.incident, "entries", self.number + 1)
            if self._store.put_once(name, tried):
                return self._take(name, tried)._replace(changed=True)
            self._pause(random.uniform(0, min(1.0, 0.02 * 2**attempt)))  # noqa: S311  it spreads writers, guards nothing
        raise StoreError(f"The ledger of {self.incident} is being written all the time by others: start again later.")

    def would(self, told: Mapping[str, Any]) -> Written:
        """What `append` would say, without writing."""
        self.refresh()
        written = self._events.get(_key(told))
        if written:
            self._same(written, told)
            return written
        made = self._next(told)
        return Written(self.number + 1, digest(canonical(made)), made, True)

    def sign(self, signer: signature.Signer) -> Written:
        """Sign the head, unless it is signed."""
        key = read_key(signer.public_key())
        self.refresh()
        if not self.number:
            raise BadInput(f"The ledger of {self.incident} has no entry: there is nothing to sign.")
        number, head = self.number, self.sha256
        name = stores.numbered(self.incident, "signatures", number)
        there = self._store.read(name)
        written = False
        if there is None:
            try:
                there = signature.made(signer, key, self.incident, number, head, self._time()["utc"])
            except ValueError:
                raise StoreError(f"The key {signer.name} made a signature that its own public half does not know: "
                                 "nothing was kept. Look at the key.") from None
            written = self._store.put_once(name, there)
            there = there if written else self._store.read(name) or b""
        return self._signed(name, there, key, number, head, written)

    def is_signed(self, key: PublicKey) -> bool:
        """Whether the head is signed by this key, as far as was read."""
        body = self._store.read(stores.numbered(self.incident, "signatures", self.number)) if self.number else None
        return body is not None and not signature.problem(body, key, self.incident, self.number, self.sha256)

    def open_intents(self) -> list[Written]:
        """What began and whose end is not recorded."""
        return [written for (event, phase), written in self._events.items()
                if phase == "intent" and (event, "outcome") not in self._events]

    def close(self, artifacts: Sequence[Artifact], actor: Mapping[str, Any], tool: Mapping[str, Any]) -> Written:
        """Write the list of all artifacts and the entry that seals it; nothing follows that entry. Then sign."""
        self.refresh()
        if self.closing:
            return self.closing
        self.compare(artifacts)
        body = canonical({"format": entries.FORMAT, "incident": self.incident, "artifacts": [
            item._asdict() for item in sorted(artifacts)]})
        name = f"{stores.folder(self.incident, 'lists')}{digest(body)}.json"
        self._store.put_once(name, body)  # one that is there has this name for its content
        return self.append({
            "event": "closing", "phase": "record", "action": "closing", "actor": actor, "tool": tool, "result": "ok",
            "object": {"kind": "case", "id": self.incident, "sha256": digest(body), "place": name},
            "details": {"artifacts": len(artifacts), "bytes": sum(item.size for item in artifacts)}})

    def _take(self, name: str, body: bytes) -> Written:
        self._last, self.number, self.sha256 = name, stores.number_of(name), digest(body)
        value: dict[str, Any] = {}
        try:
            read = entries.read(body)
        except ValueError:
            return Written(self.number, self.sha256, value, False)
        written = Written(self.number, self.sha256, read, False)
        self._events.setdefault((read["event"], read["phase"]), written)
        if read["action"] == "closing":
            self.closing = self.closing or written
        if read["object"]["kind"] == "artifact" and read["object"]["sha256"]:
            self._artifacts[read["object"]["id"]] = (self.number, read["object"]["sha256"])
        return written

    def _next(self, told: Mapping[str, Any]) -> dict[str, Any]:
        if self.closing:
            raise Closed(f"The case {self.incident} was closed by entry {self.closing.number}: nothing can be added "
                         "to its ledger.")
        made = {"format": entries.FORMAT, "incident": self.incident, "number": self.number + 1, "before": self.sha256,
                "time": self._time(), **told}
        wrong = entries.problem(made)
        if wrong:
            raise BadInput(f"The entry was not recorded: {wrong}.")
        if (made["action"] == "closing") != (made["event"] == "closing"):
            raise BadInput("The entry was not recorded: the action and the event 'closing' are for closing a case.")
        if made["phase"] == "outcome" and (made["event"], "intent") not in self._events:
            raise BadInput(f"The entry was not recorded: no intent of the event {entries.told(made['event'])} came "
                           "before. Record the intent first, or the whole as phase 'record'.")
        try:
            canonical(made)
        except ValueError as error:
            raise BadInput(f"The entry was not recorded: {error}.") from None
        return made

    def _time(self) -> dict[str, Any]:
        return {"utc": self._now().astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
                "source": f"clock of {socket.gethostname()}", "aws": self._store.aws_time}

    def _same(self, written: Written, told: Mapping[str, Any]) -> None:
        for field in SAID:
            if written.value[field] != told.get(field):
                raise Conflict(f"The event {entries.told(told['event'])} is recorded as entry {written.number} with "
                               f"another '{field}': entries are never changed. Record it as an event of its own.")

    def _signed(self, name: str, body: bytes, key: PublicKey, number: int, head: str, changed: bool) -> Written:
        wrong = signature.problem(body, key, self.incident, number, head)
        if wrong:
            raise Conflict(f"The head was not signed: what lies at {self._store.place(name)} {wrong} Check the ledger.")
        return Written(number, head, parsed(body), changed)

    def compare(self, artifacts: Sequence[Artifact]) -> None:
        """Refuse to seal what is not what was recorded."""
        if not self.number:
            raise BadInput(f"The ledger of {self.incident} has no entry: there is nothing to close.")
        there = {item.key: item.sha256 for item in artifacts}
        for key, (number, sha256) in sorted(self._artifacts.items()):
            if there.get(key) != sha256:
                what = "has another content now" if key in there else "is not there"
                raise Conflict(f"The case was not closed: {entries.told(key)}, which entry {number} recorded, {what}. "
                               "Nothing was sealed.")


def _key(told: Mapping[str, Any]) -> tuple[str, str]:
    return str(told.get("event")), str(told.get("phase"))
