# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which instances of which accounts are meant, and how each account is entered."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..registry import Caller, RegistryError

ACCOUNT = r"[0-9]{12}"
INSTANCE = r"i-(?:[0-9a-f]{17}|[0-9a-f]{8})"
ROLE = r"[A-Za-z0-9+=,.@_/-]{1,512}"
EXTERNAL_ID = r"[A-Za-z0-9+=,.@:/_-]{2,1224}"
EVERY = "*"  # among the member accounts: all that have no entry of their own
MOST_ACCOUNTS, MOST_INSTANCES, MOST_BYTES = 50, 500, 65_536


class BadList(Exception):
    """What is wrong with a list of instances, with its line."""


def read_file(name: str) -> str:
    """The text of a list file, which is read for whoever runs this on a machine of their own."""
    try:
        content = Path(name).read_bytes()
    except OSError as error:
        raise BadList(f"the file {name} cannot be read: {error.strerror}.") from None
    if len(content) > MOST_BYTES:
        raise BadList(f"the file {name} has {len(content)} bytes, at most {MOST_BYTES} are read.")
    try:
        return content.decode("ascii")
    except UnicodeDecodeError as error:
        line = content[:error.start].count(b"\n") + 1
        raise BadList(f"{name}, line {line}: there are characters outside ASCII.") from None


def parsed(text: str, name: str) -> dict[str, list[str]]:
    """Instances by account of a list with one `account=instance,instance` a line.

    Empty lines and what follows a `#` are comments. Nothing is taken of a list in which a line is wrong.

    :param name: how messages call the list: a file's name, or the field's.
    """
    found: dict[str, list[str]] = {}
    lines: dict[str, int] = {}
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.partition("#")[0].strip()
        if not line:
            continue
        where = f"{name}, line {number}"
        account, equals, rest = (part.strip() for part in line.partition("="))
        if not equals:
            raise BadList(f"{where}: 'account=instance,instance' is expected.")
        if not re.fullmatch(ACCOUNT, account):
            raise BadList(f"{where}: what stands before '=' is no AWS account of 12 digits.")
        if account in lines:
            raise BadList(f"{where}: the account {account} stands in line {lines[account]} already.")
        ids = [part.strip() for part in rest.split(",")]
        for position, instance in enumerate(ids, 1):
            if not re.fullmatch(INSTANCE, instance):
                raise BadList(f"{where}: instance {position} is no instance id ('i-' and 17 or 8 lower-case "
                              "hexadecimal digits).")
        if len(set(ids)) < len(ids):
            raise BadList(f"{where}: an instance is named twice.")
        found[account], lines[account] = sorted(ids), number
    if not found:
        raise BadList(f"{name} names no instance.")
    total = sum(len(ids) for ids in found.values())
    if len(found) > MOST_ACCOUNTS or total > MOST_INSTANCES:
        raise BadList(f"{name} names {total} instances in {len(found)} accounts, at most {MOST_INSTANCES} in "
                      f"{MOST_ACCOUNTS} are acquired at once.")
    return dict(sorted(found.items()))


def wanted(values: Mapping[str, Any], home: str) -> list[dict[str, Any]]:
    """What is asked of each account: `account`, `instance_ids`, `instance_tags`.

    :param values: checked fields, a list already parsed.
    :param home: the account of this run, which is meant where none is named.
    """
    listed = values.get("listed")
    if listed:
        return [{"account": account, "instance_ids": ids, "instance_tags": {}} for account, ids in listed.items()]
    return [{"account": values.get("aws_account") or home, "instance_ids": values["aws_instance_id"] or [],
             "instance_tags": dict(pair.split("=", 1) for pair in values["aws_instance_tags"] or [])}]


def entry_of(members: Mapping[str, Any], account: str) -> Mapping[str, Any]:
    """How an account is entered, by the operator's `dfir_aws_member_accounts`; `RegistryError` where that is wrong."""
    by_name = {str(name): entry for name, entry in members.items()}
    entry = by_name.get(account, by_name.get(EVERY))
    if entry is None:
        return {}
    if not isinstance(entry, Mapping) or not re.fullmatch(ROLE, str(entry.get("role") or "")):
        raise RegistryError(f"dfir_aws_member_accounts needs a role's name for the account {account}.")
    external = entry.get("external_id")
    if external is not None and not re.fullmatch(EXTERNAL_ID, str(external)):
        raise RegistryError(f"dfir_aws_member_accounts holds an external id for the account {account} that IAM does "
                            "not take: 2 to 1,224 letters, digits and +=,.@:/_-")
    return entry


def entrance(target: Mapping[str, Any], members: Mapping[str, Any], caller: Caller, *, incident: str, request_id: str,
             analyst: str) -> dict[str, Any]:
    """A target with the role to assume, its session's name and who is behind it; empty for this run's own account."""
    account = str(target["account"])
    if account == caller.account:
        return {**target, "role_arn": "", "session_name": "", "source_identity": ""}
    entry = entry_of(members, account)
    person = analyst if re.fullmatch(r"[\w+=,.@-]{2,64}", analyst, re.ASCII) else ""
    told = str(entry.get("source_identity", True)).lower() not in ("false", "no")
    return {**target, "role_arn": f"arn:{caller.partition}:iam::{account}:role/{entry['role']}",
            "session_name": f"dfir-{incident[:42]}-{request_id}", "source_identity": person if told else ""}


def access(targets: Sequence[Mapping[str, Any]], members: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What modules need to enter the accounts that are not this run's own, external ids included."""
    out = []
    for target in targets:
        if target.get("role_arn"):
            external = entry_of(members, str(target["account"])).get("external_id")
            out.append({"account": str(target["account"]), "role_arn": target["role_arn"],
                        "session_name": target["session_name"],
                        **({"source_identity": target["source_identity"]} if target.get("source_identity") else {}),
                        **({"external_id": str(external)} if external is not None else {})})
    return out
