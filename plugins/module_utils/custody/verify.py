# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks a ledger, its signatures and the artifacts, and names the first thing that does not fit.

Nothing in the case is believed: the public key comes from outside, and so may the head that somebody noted earlier.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from . import entry as entries
from . import signature, stores
from .canonical import digest, parsed
from .entry import NOTHING
from .errors import BadInput
from .rsa import PublicKey

VALID, UNSIGNED, INVALID = "valid", "unsigned", "invalid"
_ARTIFACT = {"key": lambda value: isinstance(value, str), "size": entries.whole, "sha256": entries.like(entries.SHA256)}


class Unfit(Exception):
    """What does not fit: a place, and a sentence about it."""

    def __init__(self, place: str, sentence: str) -> None:
        super().__init__(sentence)
        self.place, self.sentence = place, sentence


@dataclass
class Verdict:
    """What checking came to."""

    incident: str
    state: str = VALID
    place: str = ""  # of the first thing that does not fit
    problem: str = ""
    entries: list[dict[str, Any]] = field(default_factory=list)  # those that fit, in their order
    head: str = NOTHING  # hash of the last of them
    signed: int = 0  # number of the last entry that a signature covers
    signed_at: str = ""
    closed: bool = False
    artifacts: list[dict[str, Any]] = field(default_factory=list)  # those whose content was checked
    checked: bool = False  # whether artifacts were looked at at all
    remarks: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Noted:
    """A head that somebody noted outside the case: number and hash of an entry."""

    number: int
    sha256: str

    @classmethod
    def read(cls, text: str) -> Noted:
        """Of `12:<sha256>`, as the custody form shows it."""
        number, _colon, sha256 = text.partition(":")
        if not re.fullmatch(r"[1-9][0-9]{0,8}", number) or not entries.like(entries.SHA256)(sha256):
            raise BadInput("The noted head must be an entry's number, a colon and its SHA-256.")
        return cls(int(number), sha256)


def verify(store: stores.Store, incident: str, key: PublicKey, *, artifacts: bool = True,
           noted: Noted | None = None) -> Verdict:
    """Check a case.

    :param artifacts: read all artifacts that the ledger names, too.
    :param noted: a head that must be in the ledger.
    """
    if not entries.like(entries.INCIDENT)(incident):
        raise BadInput("The incident is none: letters, digits, '.', '_' and '-', at most 64 of them.")
    verdict = Verdict(incident)
    try:
        _chain(store, verdict, key, noted)
        if artifacts:
            _artifacts(store, verdict)
            verdict.checked = True
    except Unfit as unfit:
        verdict.state, verdict.place, verdict.problem = INVALID, unfit.place, unfit.sentence
        return verdict
    if verdict.signed < len(verdict.entries):
        verdict.state = UNSIGNED
        verdict.problem = (f"Entries {verdict.signed + 1} to {len(verdict.entries)} are not covered by a signature: "
                           "they prove nothing yet. Sign the head, or find out who wrote them.")
    ended = {one["event"] for one in verdict.entries if one["phase"] == "outcome"}
    verdict.remarks += [
        f"Entry {one['number']}: {one['action']} of {entries.told(one['object']['id'])} began, and its end is not "
        "recorded." for one in verdict.entries if one["phase"] == "intent" and one["event"] not in ended]
    if not verdict.closed:
        verdict.remarks.append("The case is not closed: entries may follow, and artifacts that no entry names are not "
                               "covered.")
    if not artifacts:
        verdict.remarks.append("No artifact was read: the ledger was checked alone.")
    return verdict


def _chain(store: stores.Store, verdict: Verdict, key: PublicKey, noted: Noted | None) -> None:
    """Entries one after the other, and the signature of each where there is one."""
    incident = verdict.incident
    names = store.names(stores.folder(incident, "entries"))
    seen: dict[tuple[str, str], int] = {}
    signatures = set(store.names(stores.folder(incident, "signatures")))
    if not names and not signatures:
        raise BadInput(f"There is no ledger of {incident} at {store.place(stores.folder(incident, 'entries'))}.")
    for number, (name, body) in enumerate(zip(names, store.read_all(names), strict=True), 1):
        if name != stores.numbered(incident, "entries", number):
            missing = stores.numbered(incident, "entries", number)
            if stores.number_of(name) < number or missing in names:
                raise Unfit(store.place(name), f"{entries.told(name)} is no entry of this ledger.")
            raise Unfit(store.place(missing), f"Entry {number} is missing, and later ones are there.")
        one = _entry(verdict, store.place(name), number, body or b"", seen)
        if noted and noted.number == number and noted.sha256 != digest(body or b""):
            raise Unfit(store.place(name), f"Entry {number} is not the one that was noted outside the case: it or one "
                                           "before it was changed, added or taken out.")
        place = stores.numbered(incident, "signatures", number)
        verdict.entries.append(one)
        verdict.head = digest(body or b"")
        if place in signatures:
            signatures.discard(place)
            kept = store.read(place) or b""
            wrong = signature.problem(kept, key, incident, number, verdict.head)
            if wrong:
                raise Unfit(store.place(place), f"The signature of entry {number} {wrong}")
            verdict.signed, verdict.signed_at = number, parsed(kept)["statement"]["utc"]
    last = len(verdict.entries)
    if noted and noted.number > last:
        raise Unfit(store.place(stores.numbered(incident, "entries", last + 1)),
                    f"Entry {last + 1} is missing: somebody noted the hash of entry {noted.number} outside the case.")
    for name in sorted(signatures):
        number = stores.number_of(name)
        if number <= last:
            raise Unfit(store.place(name), f"{entries.told(name)} is no signature of this ledger.")
        raise Unfit(store.place(stores.numbered(incident, "entries", last + 1)),
                    f"Entry {last + 1} is missing: there is a signature of entry {number}, so the ledger was longer.")


def _entry(verdict: Verdict, place: str, number: int, body: bytes, seen: dict[tuple[str, str], int]) -> dict[str, Any]:
    """The entry, once it fits those before it."""
    def unfit(sentence: str) -> Unfit:
        return Unfit(place, f"Entry {number} {sentence}")

    try:
        one = entries.read(body)
    except ValueError as error:
        raise unfit(f"cannot be read as one: {error}.") from None
    if one["incident"] != verdict.incident:
        raise unfit(f"is of another incident ({one['incident']}).")
    if one["number"] != number:
        raise unfit(f"says that it is entry {one['number']}: entries were exchanged, or put where they do not belong.")
    if one["before"] != verdict.head:
        raise unfit("does not carry the hash of the entry before it: one of the two was changed, added or taken out."
                    if number > 1 else "does not begin a ledger: it carries the hash of an entry before it.")
    if verdict.closed:
        raise unfit("comes after the one that closed the case.")
    earlier = seen.setdefault((one["event"], one["phase"]), number)
    if earlier != number:
        raise unfit(f"says once more what entry {earlier} said.")
    if one["phase"] == "outcome" and (one["event"], "intent") not in seen:
        raise unfit("tells the outcome of something whose beginning is not recorded before it.")
    verdict.closed = one["action"] == "closing"
    return one


def _artifacts(store: stores.Store, verdict: Verdict) -> None:
    """Every artifact that an entry or the seal names, by its content; and of a closed case that there are no others."""
    wanted: dict[str, tuple[str, str]] = {}  # sha256, and who says so
    for one in verdict.entries:
        about = one["object"]
        if about["kind"] == "artifact" and about["sha256"]:
            wanted[about["id"]] = (about["sha256"], f"entry {one['number']}")
    if verdict.closed:
        sealed = _sealed(store, verdict)
        for key, (sha256, who) in wanted.items():
            if sealed.get(key, ("", ""))[0] != sha256:
                raise Unfit(store.place(key), f"{entries.told(key)} is sealed otherwise than {who} recorded it.")
        wanted = sealed
        for key in store.names(f"{verdict.incident}/"):
            if key not in wanted:
                raise Unfit(store.place(key), f"{entries.told(key)} was not there when the case was closed.")
    for key, (sha256, who) in sorted(wanted.items()):
        if key.startswith("/") or ".." in key.split("/"):
            raise Unfit(key, f"{entries.told(key)}, which {who} names, is no name of an artifact.")
        found = store.measure(key)
        if found is None:
            raise Unfit(store.place(key), f"{entries.told(key)} is missing: {who} names it.")
        if found[1] != sha256:
            raise Unfit(store.place(key), f"{entries.told(key)} has not the content that {who} names: SHA-256 "
                                          f"{found[1]} instead of {sha256}.")
        verdict.artifacts.append({"key": key, "size": found[0], "sha256": sha256})


def _sealed(store: stores.Store, verdict: Verdict) -> dict[str, tuple[str, str]]:
    """The list that the closing entry names."""
    sha256 = str(verdict.entries[-1]["object"]["sha256"])
    name = f"{stores.folder(verdict.incident, 'lists')}{sha256}.json"
    body = store.read(name)
    if body is None:
        raise Unfit(store.place(name), "The list of artifacts, which closed the case, is missing.")
    if digest(body) != sha256:
        raise Unfit(store.place(name), "The list of artifacts is not the one that closed the case: it was changed.")
    try:
        listed = parsed(body)["artifacts"]
        if any(entries.fields_problem(item, _ARTIFACT) for item in listed):
            raise ValueError
    except (ValueError, KeyError, TypeError):
        raise Unfit(store.place(name), "The list of artifacts cannot be read as one.") from None
    return {item["key"]: (item["sha256"], "the list that closed the case") for item in listed}


def lines(verdict: Verdict) -> list[str]:
    """A verdict as people read it."""
    said = {VALID: "VALID", UNSIGNED: "NOT WHOLLY SIGNED", INVALID: "DOES NOT FIT"}[verdict.state]
    out = [f"{verdict.incident}: {said}"]
    if verdict.problem:
        out.append(verdict.problem)
    if verdict.place:
        out.append(f"First place that does not fit: {entries.told(verdict.place, 1200)}")
    count = len(verdict.entries)
    out.append(f"{count} {'entries fit' if count != 1 else 'entry fits'}"
               + (f", signed up to entry {verdict.signed} ({verdict.signed_at})" if verdict.signed
                  else ", none is signed")
               + ("; the case is closed." if verdict.closed else "."))
    if count:
        out.append(f"Head: {count}:{verdict.head}")
    if verdict.artifacts:
        out.append(f"{len(verdict.artifacts)} artifacts have the content that the ledger names.")
    return out + verdict.remarks


def as_data(verdict: Verdict) -> Mapping[str, Any]:
    """A verdict for machines."""
    return {"incident": verdict.incident, "state": verdict.state, "problem": verdict.problem, "place": verdict.place,
            "entries": len(verdict.entries), "head": verdict.head, "signed": verdict.signed,
            "signed_at": verdict.signed_at, "closed": verdict.closed, "artifacts": len(verdict.artifacts),
            "artifacts_checked": verdict.checked, "remarks": verdict.remarks}
