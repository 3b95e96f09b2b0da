# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Until when a session was prolonged, as far as anybody honours it.

The host tells it by the name of a marker below its prefix. Malware on the host can write such a marker, too: it counts
up to the bound that was fixed when the host was launched (`expires`, from the record or the tags), and no further.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, timezone

from .request_spec import iso, parse_iso

MARKER = re.compile(r"extended-until-([0-9]{8}T[0-9]{6}Z)\.json")


def extended_until(names: Iterable[str], latest: str) -> str:
    """The latest moment that a marker among `names` tells, or `latest` where it tells more; empty without a marker.

    :param names: names of objects below the host's prefix, without it.
    :param latest: the bound, in UTC; empty: nothing was allowed, so no marker counts.
    """
    moments = []
    for name in names:
        match = MARKER.fullmatch(name)
        if match and latest:
            try:
                moment = datetime.strptime(match.group(1), "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)
            except ValueError:  # the 99th of a month
                continue
            moments.append(min(moment, parse_iso(latest)))
    return iso(max(moments)) if moments else ""


def end_of(deadline: str, extended: str) -> str:
    """When a host ends itself: at its deadline, or as late as that was moved to. `extended` is honoured as it is."""
    return max(deadline, extended) if deadline and extended else deadline or extended
