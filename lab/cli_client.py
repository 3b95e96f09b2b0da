# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Talks to a running lab through its control calls."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

from lab.config import LabConfig


class LabError(Exception):
    """Something that the user can act upon; one sentence."""


class NotRunning(LabError):
    """There is no lab to talk to."""


# A machine's proxy settings must not catch what goes to loopback.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def ask(settings: LabConfig, path: str, data: Any = None, *, method: str | None = None, timeout: float = 30) -> Any:
    """One control call; raises LabError with the lab's own sentence."""
    body = None if data is None else json.dumps(data).encode()
    request = urllib.request.Request(  # noqa: S310  always http to loopback
        f"{settings.endpoint}/_lab/{path}", data=body, method=method or ("POST" if body is not None else "GET"),
        headers={"Content-Type": "application/json"})
    try:
        with _OPENER.open(request, timeout=timeout) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        try:
            message = json.load(error).get("error", str(error))
        except ValueError:
            message = str(error)
        raise LabError(message) from None
    except (OSError, ValueError):
        raise NotRunning(f"no lab answers at {settings.endpoint}; start it with: python -m lab up") from None


def health(settings: LabConfig) -> dict[str, Any] | None:
    """What a running lab says of itself; None when there is none, or something else listens there."""
    try:
        answer = ask(settings, "health", timeout=5)
    except LabError:
        return None
    return answer if isinstance(answer, dict) and answer.get("ok") else None
