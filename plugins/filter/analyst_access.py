# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shape what the role `analyst_access` hands on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def analyst_key(found: Mapping[str, Any], uid: str) -> dict[str, Any]:
    """A checked key and whose it is."""
    return {"uid": str(uid), **{name: found[name] for name in ("key", "fingerprint", "type", "bits")}}


def analyst_access(key: Mapping[str, Any], user: str, folder: str) -> dict[str, str]:
    """How the analyst gets in."""
    return {"user": user, "uid": key["uid"], "key_fingerprint": key["fingerprint"], "folder": folder}


class FilterModule:
    """Filters of the role `analyst_access`."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Names as playbooks use them, below `dfir.aws.`."""
        return {"analyst_key": analyst_key, "analyst_access": analyst_access}
