# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Times as analysts read them: UTC, ISO 8601, whatever a file system claims."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def iso(seconds: float | int | None, nanoseconds: int = 0) -> str:
    """Seconds since the epoch as `2026-09-12T03:41:17Z`, with a fraction when there is one.

    Times before 1970 and after 2038 are ordinary; what no calendar holds is given as `@seconds`.
    """
    if seconds is None:
        return ""
    whole = int(seconds // 1)
    try:
        text = (_EPOCH + timedelta(seconds=whole)).strftime("%Y-%m-%dT%H:%M:%S")
    except OverflowError:
        return f"@{whole}"
    if len(text) < 19:  # strftime does not pad years before 1000
        text = text.rjust(19, "0")
    fraction = f".{nanoseconds:09d}".rstrip("0") if nanoseconds else ""
    return f"{text}{fraction}Z"


def iso_ns(nanoseconds: int | None) -> str:
    """Nanoseconds since the epoch, as `iso` gives seconds."""
    if nanoseconds is None:
        return ""
    return iso(nanoseconds // 1_000_000_000, nanoseconds % 1_000_000_000)


def utc_now() -> str:
    """The present moment, to the second."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
