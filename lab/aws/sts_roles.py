# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""AssumeRole as STS has it, where moto looks at nothing: names and times that it refuses, sessions with a history."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from typing import Any

from lab.contracts import Refused

from . import moto_app
from .calls import Call
from .policy import Need
from .principals import Principal

# isort: split
from moto.sts.models import STSBackend

SESSION = re.compile(r"[\w+=,.@-]{2,64}", re.ASCII)
EXTERNAL = re.compile(r"[\w+=,.@:/-]{2,1224}", re.ASCII)
CHAINED_SECONDS = 3600
UNTOLD = ("PolicyArns", "Tags", "TransitiveTagKeys", "SerialNumber", "TokenCode", "ProvidedContexts")
_assume = STSBackend.assume_role


def needs(call: Call) -> list[Need]:
    """What AssumeRole needs on the role: the trust policy sees external id, session name and source identity."""
    params, arn = call.params, call.params.get("RoleArn") or "*"
    if call.operation != "AssumeRole":
        return [Need(f"sts:{call.operation}", arn, {})]
    keys = {key: [str(params[name])] for name, key in (
        ("ExternalId", "sts:externalid"), ("RoleSessionName", "sts:rolesessionname"),
        ("SourceIdentity", "sts:sourceidentity")) if params.get(name)}
    actions = ["sts:AssumeRole", *(["sts:SetSourceIdentity"] if params.get("SourceIdentity") else [])]
    return [Need(action, arn, keys) for action in actions]


def check(call: Call, caller: Principal) -> None:
    """Refuse what STS refuses, and what sessions here could not carry."""
    moto_app.CALL.source_identity = ""
    if call.service != "sts" or call.operation != "AssumeRole":
        return
    params = call.params
    for name in UNTOLD:
        if params.get(name):
            raise Refused(400, "LabNotImplemented", f"The lab's sessions have no {name}: sts:AssumeRole refuses it.")
    for name, form in (("RoleSessionName", SESSION), ("ExternalId", EXTERNAL), ("SourceIdentity", SESSION)):
        value = params.get(name)
        if value is not None and not form.fullmatch(str(value)):
            raise Refused(400, "ValidationError", f"1 validation error detected: Value '{value}' at "
                                                  f"'{name[0].lower()}{name[1:]}' failed to satisfy constraint.")
    seconds = int(params.get("DurationSeconds") or 3600)
    role = next(r for r in moto_app.iam(params["RoleArn"].split(":")[4]).get_roles() if r.arn == params["RoleArn"])
    longest = int(getattr(role, "max_session_duration", None) or 3600)
    if not 900 <= seconds <= longest:
        raise Refused(400, "ValidationError", "The requested DurationSeconds exceeds the MaxSessionDuration set for "
                                              "this role." if seconds > longest else "DurationSeconds is at least 900.")
    if caller.kind == "AssumedRole" and seconds > CHAINED_SECONDS:
        raise Refused(400, "ValidationError", "The requested DurationSeconds exceeds the 1 hour session limit for "
                                              "roles assumed by role chaining.")
    if caller.source_identity and params.get("SourceIdentity") not in (None, caller.source_identity):
        raise Refused(403, "AccessDenied", "The source identity of a session cannot be changed by role chaining.")
    moto_app.CALL.source_identity = str(params.get("SourceIdentity") or caller.source_identity)


def assume_role(self: Any, **given: Any) -> Any:
    """A session that remembers when it began and who is behind it."""
    session: Any = _assume(self, **given)
    session.lab_issued = datetime.now(timezone.utc)
    session.lab_source_identity = moto_app.CALL.source_identity
    return session


def install() -> None:
    """Put it in the place of moto's."""
    STSBackend.assume_role = assume_role  # type: ignore[assignment,method-assign]
