# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One value, one text: what is hashed and signed.

RFC 8785 (JSON Canonicalization Scheme) for what a ledger holds: objects with names in ASCII, lists, texts, whole
numbers of at most 2^53 - 1, true, false and null. There are no fractions, the difficult part of that RFC.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

LARGEST = (1 << 53) - 1


def canonical(value: Any) -> bytes:
    """The bytes of a value. ValueError when it holds what has no such form."""
    _check(value)
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def parsed(body: bytes) -> Any:
    """The value of canonical bytes. ValueError for any other spelling: it would be a second hash."""
    try:
        value = json.loads(body.decode())
        same = canonical(value) == body
    except (ValueError, RecursionError) as error:  # also bytes that are no UTF-8
        raise ValueError("it is not JSON that a ledger may hold") from error
    if not same:
        raise ValueError("it is not written in the one form that a ledger has")
    return value


def digest(body: bytes) -> str:
    """SHA-256 in lower-case hexadecimal."""
    return hashlib.sha256(body).hexdigest()


def _check(value: Any) -> None:
    if isinstance(value, dict):
        for name, item in value.items():
            if not isinstance(name, str) or not name.isascii():
                raise ValueError("a name is not in ASCII")
            _check(item)
    elif isinstance(value, list):
        for item in value:
            _check(item)
    elif isinstance(value, str):
        value.encode()  # half of a surrogate pair is no text: UnicodeEncodeError is a ValueError
    elif isinstance(value, int):  # true and false, too
        if abs(value) > LARGEST:
            raise ValueError("a number is too large")
    elif value is not None:
        raise ValueError(f"a {type(value).__name__} has no place in a ledger")
