# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Signatures of a ledger's head: what is signed, and who signs.

A signature covers the entry it names and, by the chain, all entries before it. It says its incident and number, so it
fits no other place.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, Protocol

from .canonical import canonical, parsed
from .entry import FORMAT, INCIDENT, LONGEST, SHA256, TIME, fields_problem, like, number, told
from .rsa import ALGORITHM, PublicKey, is_signed

PURPOSE = "dfir.aws custody head"


class Signer(Protocol):
    """Something that holds a private key."""

    name: str  # the key, as people find it

    def public_key(self) -> bytes:
        """The public half, DER."""

    def sign(self, message: bytes) -> bytes:
        """The signature of a message of at most 4096 bytes, by rsa.ALGORITHM."""


FIELDS: dict[str, Any] = {
    "format": lambda value: value == FORMAT,
    "algorithm": lambda value: value == ALGORITHM,
    "key": {"name": lambda value: isinstance(value, str) and len(value) <= LONGEST, "sha256": like(SHA256)},
    "signature": lambda value: isinstance(value, str) and len(value) <= LONGEST,
    "statement": {"purpose": lambda value: value == PURPOSE, "incident": like(INCIDENT), "number": number,
                  "head": like(SHA256), "utc": like(TIME)},
}


def made(signer: Signer, key: PublicKey, incident: str, entry: int, head: str, utc: str) -> bytes:
    """The signature of a head, as it is kept. ValueError when the signer's own key does not know it."""
    statement = {"purpose": PURPOSE, "incident": incident, "number": entry, "head": head, "utc": utc}
    message = canonical(statement)
    signature = signer.sign(message)
    if not is_signed(key, message, signature):
        raise ValueError
    return canonical({"format": FORMAT, "algorithm": ALGORITHM, "statement": statement,
                      "key": {"name": signer.name, "sha256": key.fingerprint},
                      "signature": base64.b64encode(signature).decode()})


def problem(body: bytes, key: PublicKey, incident: str, place: int, head: str) -> str:
    """Why a signature does not prove this head, as a sentence about it; empty when it does."""
    try:
        kept = parsed(body)
    except ValueError as error:
        return f"cannot be read: {error}."
    wrong = fields_problem(kept, FIELDS)
    if wrong:
        return f"is no signature of this format: {wrong}."
    try:
        signature = base64.b64decode(kept["signature"], validate=True)
    except binascii.Error:
        return "is no signature of this format: it is not in base64."
    if not is_signed(key, canonical(kept["statement"]), signature):
        if kept["key"]["sha256"] != key.fingerprint:
            return (f"is by another key ({told(kept['key']['name'])}, {kept['key']['sha256'][:16]}…) than the one that "
                    f"was given ({key.fingerprint[:16]}…).")
        return "is wrong: the given key did not sign this."
    statement = kept["statement"]
    if statement["incident"] != incident:
        return f"was made for another incident ({told(statement['incident'])})."
    if statement["number"] != place:
        return f"was made for entry {statement['number']} and lies at the place of entry {place}."
    if statement["head"] != head:
        return f"was made for another entry {place}: that entry, or one before it, was changed, added or taken out."
    return ""
