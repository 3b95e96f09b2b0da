# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an analyst's session gets from the controller, and how it is found again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from typing import Any

RENEWS = "playbooks/renew_artifact_urls.yml"


def artifact_offer(request: Mapping[str, Any], signed: Mapping[str, Any]) -> dict[str, Any]:
    """What is left on a host for `dfir-pull`: the addresses of the case's artifacts, and who renews them.

    :param signed: as M(dfir.aws.artifact_urls_info) returned it.
    """
    return {"incident": request["incident"], "expires_at": signed["expires_at"], "left_out": signed["left_out"],
            "renew": renew_command(request), "objects": [dict(item) for item in signed["urls"]]}


def renew_command(request: Mapping[str, Any]) -> str:
    """The command that signs new addresses for a request's host: it names the request by the fields that make it."""
    ids = [snapshot["id"] for snapshot in request["snapshots"]]
    fields = {
        "analyst_uid": request["analyst"]["uid"], "incident": request["incident"],
        "aws_snapshot_id": ids[0] if len(ids) == 1 else ids, "aws_snapshot_region": request["snapshots"][0]["region"],
        "aws_analysis_region": request["analysis_region"], "forensics_mode": request["mode"],
        "attempt": request["attempt"],
    }
    return f"ansible-playbook -i INVENTORY {RENEWS} -e {shlex.quote(json.dumps(fields))}"


def session_host(request: Mapping[str, Any], record: Mapping[str, Any], region: str) -> dict[str, Any]:
    """The host of a request that was let in again, from its record; `problem` says why there is none to speak to."""
    done = {str(step["name"]): dict(step.get("details") or {}) for step in record.get("steps") or []
            if step.get("outcome") == "ok"}
    host = done.get("analysis_host", {})
    where = f"Request {request['request_id']} ({request['incident']}, {request['mode']})"
    problem = ""
    if not record:
        problem = f"{where} was never made. The fields must be the very same, 'attempt' among them."
    elif record.get("state") == "finished":
        problem = f"{where} has ended as '{record.get('outcome')}': there is no host any more."
    elif not host.get("known_hosts") or "forensics" not in done:
        problem = f"{where} has no host that is ready."
    known = {"bucket": request["artifact_bucket"], "region": region, "request_id": request["request_id"]}
    return {"problem": problem, "host": host, "snapshot": done.get("snapshot", {}),
            "request": {**request, "record": known}}


class FilterModule:
    """Filters about sessions."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Names as playbooks use them, below `dfir.aws.`."""
        return {"artifact_offer": artifact_offer, "renew_command": renew_command, "session_host": session_host}
