# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a containment or a release is once it was let in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ..registry import Caller
from ..request_spec import iso


def build(wish: str, values: Mapping[str, Any], analyst: Mapping[str, Any], caller: Caller, *, bucket: str,
          now: datetime) -> dict[str, Any]:
    """Everything that later steps may know of what was asked for."""
    what = {"kind": wish, "account": caller.account, "incident": values["incident"], "analyst": analyst["uid"],
            "region": values["aws_instance_region"], "instance": values["aws_instance_id"]}
    text = json.dumps(what, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return {
        "request_id": hashlib.sha256(text.encode()).hexdigest()[:16],
        "incident": values["incident"], "account": caller.account, "partition": caller.partition,
        "analyst": dict(analyst), "caller": {"kind": caller.kind, "name": caller.name, "arn": caller.arn},
        "region": values["aws_instance_region"], "instance_ids": [values["aws_instance_id"]],
        "network_acl": bool(values.get("network_acl")), "revoke_sessions": bool(values.get("revoke_sessions")),
        "requested_at": iso(now), "artifact_bucket": bucket,
    }
