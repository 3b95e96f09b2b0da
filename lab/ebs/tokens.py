# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Block and page tokens: opaque, authenticated, bound to what they were given for, and mortal."""

from __future__ import annotations

import base64
import binascii
import hmac
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass

_BLOCK = struct.Struct(">2sQ7s")  # version, expiry in ms, nonce
_PAGE = struct.Struct(">2sQ7sQI")  # the same, next index, number of the page
_MAC = 16


class BadToken(Exception):
    """The token is not one of ours, or not for this."""


class ExpiredToken(Exception):
    """The token was ours once."""


@dataclass(frozen=True)
class Position:
    """Where a listing goes on."""

    index: int
    page: int


class Tokens:
    """Makes and checks tokens. `key` must outlive them."""

    def __init__(self, key: bytes) -> None:
        # Copies of a keyed object, and not `hmac.digest`: that one gives the lock of the interpreter away each time,
        # and with many connections another thread has it then.
        self._keyed = hmac.new(key, digestmod="sha256")

    def for_listing(self, region: str, snapshot_id: str, expires: float) -> Callable[[int], str]:
        """A maker of block tokens of one listing: they differ from those of any other."""
        head = _BLOCK.pack(b"\x01B", int(expires * 1000), os.urandom(7))
        bound = _bound("block", region, snapshot_id) + head
        seal, encode = self._seal, base64.b64encode

        def make(index: int) -> str:
            return encode(head + seal(bound + b"%d" % index)).decode("ascii")

        return make

    def check_block(self, token: str, region: str, snapshot_id: str, index: int, now: float) -> None:
        """Raise unless the token was given for this very block and is alive."""
        head, mac = _open(token, _BLOCK.size)
        wanted = self._seal(_bound("block", region, snapshot_id) + head + b"%d" % index)
        if not hmac.compare_digest(mac, wanted):
            raise BadToken
        if _BLOCK.unpack(head)[1] <= now * 1000:
            raise ExpiredToken

    def page(self, listing: str, position: Position, expires: float) -> str:
        """The NextToken of a listing; `listing` says which (operation, region, snapshots)."""
        head = _PAGE.pack(b"\x01P", int(expires * 1000), os.urandom(7), position.index, position.page)
        return base64.b64encode(head + self._seal(_bound("page", listing) + head)).decode("ascii")

    def check_page(self, token: str, listing: str, now: float) -> Position:
        """Where to go on, if the token belongs to this listing and is alive."""
        head, mac = _open(token, _PAGE.size)
        if not hmac.compare_digest(mac, self._seal(_bound("page", listing) + head)):
            raise BadToken
        _, expiry, _, index, page = _PAGE.unpack(head)
        if expiry <= now * 1000:
            raise ExpiredToken
        return Position(index, page)

    def _seal(self, data: bytes) -> bytes:
        keyed = self._keyed.copy()
        keyed.update(data)
        return keyed.digest()[:_MAC]


def _bound(*parts: str) -> bytes:
    return "\0".join(parts).encode() + b"\0"


def _open(token: str, size: int) -> tuple[bytes, bytes]:
    try:
        raw = base64.b64decode(token, validate=True)
    except (binascii.Error, ValueError):
        raise BadToken from None
    if len(raw) != size + _MAC:
        raise BadToken
    return raw[:size], raw[size:]
