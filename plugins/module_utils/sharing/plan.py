# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What must be done with a snapshot so that another account can read it, decided on facts alone.

The order of calls is always the same, and each is left out where it is not needed or was made before: copy it under a
customer key where its owner is (reencrypt), share it (share), copy it where it shall be read (copy), lock what stays
(lock), and read it with the other account's own credentials (verify).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .keys import account_of, refused
from .locks import wanted as lock_wanted
from .words import DEFAULT_ALIAS, OPEN, SEAL, default_key

REENCRYPT, SHARE, COPY, LOCK, VERIFY = "reencrypt", "share", "copy", "lock", "verify"
AWS_MANAGED = "AWS"


def decide(facts: Mapping[str, Any], target: Mapping[str, Any], checks: list[dict[str, str]]) -> dict[str, Any]:
    """The entry of a snapshot: its facts with `steps`, `why` (sentences), `notes` and `problem`.

    :param facts: `snapshot_id`, `account`, `region`, `state` (empty: not there), `owner`, `tier`, `encrypted`, `key`
        (as `keys.look` tells it; empty when not encrypted), `shared`, `reencrypted` and `copy` (what is there already,
        or empty), `lock` (of what stays, or empty).
    :param target: `account`, `region`, `how` (copy or share), `key` (a customer key of the snapshot's region, or
    empty), `target_key` (of the target's region, or empty), both as `keys.look` tells them, `lock`.
    """
    entry = {**facts, "steps": [], "why": [], "notes": [], "problem": _unfit(facts, target), "checks": checks,
             "target": dict(target), "reencrypt_why": ""}
    if entry["problem"]:
        return entry
    if _copied(facts):
        entry["why"].append(f"its copy {facts['copy']['snapshot_id']} is there and is taken up")
        _keep_pending(entry)
    elif facts["account"] == target["account"]:
        _within(entry, facts, target)
    else:
        _across(entry, facts, target)
    if not entry["problem"]:
        wanted, why = lock_wanted(target["lock"], facts.get("lock") or {})
        entry["why"] += [why] if why else []
        entry["steps"] += [LOCK] * wanted + [VERIFY]
    return entry


def _unfit(facts: Mapping[str, Any], target: Mapping[str, Any]) -> str:
    name, region = facts["snapshot_id"], facts["region"]
    if facts.get("problem"):
        return str(facts["problem"])
    if not facts["state"]:
        return (f"There is no snapshot {name} in {region} that account {facts['account']} may see: look at id and "
                "region.")
    if facts["owner"] != facts["account"]:
        return (f"{name} belongs to account {facts['owner']}, and only its owner can share it: name {facts['owner']} "
                "as its account.")
    if facts["state"] != "completed":
        return f"{name} is in state {facts['state']}: only a completed snapshot can be shared, copied and locked."
    if facts["tier"] == "archive":
        return f"{name} lies in the archive tier: restore it first (RestoreSnapshotTier)."
    if target["how"] == "share" and target["region"] != region:
        return (f"A share stays in its region: {name} is in {region}. Copy it (share_as: copy), or name {region} as "
                "the target's region.")
    return ""


def _copied(facts: Mapping[str, Any]) -> bool:
    return bool(facts["copy"])


def _keep_pending(entry: dict[str, Any]) -> None:
    if entry["copy"]["state"] != "completed":
        entry["steps"].append(COPY)


def _within(entry: dict[str, Any], facts: Mapping[str, Any], target: Mapping[str, Any]) -> None:
    """Both are one account: nobody is to be let in."""
    if facts["region"] == target["region"]:
        entry["why"].append(f"it lies where it shall be read, in {target['region']} of account {target['account']}")
        return
    entry["why"].append(f"it is copied from {facts['region']} to {target['region']}")
    entry["steps"].append(COPY)
    _may_copy(entry, _arn(facts.get("key")), target)


def _across(entry: dict[str, Any], facts: Mapping[str, Any], target: Mapping[str, Any]) -> None:
    key = facts.get("key") or {}
    entry["reencrypt_why"] = _why_anew(entry, facts, target)
    if entry["problem"]:
        return
    under = _arn(key)
    if entry["reencrypt_why"]:
        under = _arn(target.get("key"))
        entry["why"].append(entry["reencrypt_why"])
        entry["problem"] = (target["key"].get("problem") or refused(entry["checks"], SEAL, under, facts["account"])
                            or refused(entry["checks"], OPEN, under, target["account"])
                            or refused(entry["checks"], OPEN, _arn(key), facts["account"]))
        if entry["problem"]:
            return
        if (facts["reencrypted"] or {}).get("state") == "completed":
            entry["why"].append(f"its copy {facts['reencrypted']['snapshot_id']} under {under} is there and is taken "
                                "up")
        else:
            entry["steps"].append(REENCRYPT)
    elif facts["encrypted"]:
        entry["why"].append(f"it is encrypted under {under}, which is no default key")
        if account_of(under) == target["account"]:
            entry["notes"].append(f"{under} is a key of {target['account']} itself")
    else:
        entry["why"].append("it is not encrypted, so no key stands in the way")
    goes = facts["reencrypted"] if entry["reencrypt_why"] else facts
    if goes and goes.get("shared"):
        entry["why"].append(f"it is shared with {target['account']} already")
    else:
        entry["steps"].append(SHARE)
    if target["how"] == "copy":
        entry["steps"].append(COPY)
        _may_copy(entry, under, target)


def _why_anew(entry: dict[str, Any], facts: Mapping[str, Any], target: Mapping[str, Any]) -> str:
    """Why a snapshot must be encrypted anew before it is shared; empty when it need not be."""
    key, other = facts.get("key") or {}, target.get("key") or {}
    if not facts["encrypted"]:
        return ""
    if key.get("manager") == AWS_MANAGED:
        if not other:
            entry["problem"] = default_key(facts["snapshot_id"], facts["region"])
        return (f"it is encrypted under the default key {DEFAULT_ALIAS}, which no other account can use: it is copied "
                f"under {_arn(other)} first")
    if key.get("problem"):
        entry["problem"] = key["problem"]
        return ""
    if not key.get("known"):
        entry["notes"].append(f"not checkable: whether {_arn(key)} is the account's default key "
                              f"({key.get('why', 'unknown')})")
    barred = refused(entry["checks"], OPEN, _arn(key), target["account"])
    if barred and (not other or _arn(other) == _arn(key)):
        entry["problem"] = barred
        return ""
    return (f"the policy of its key {_arn(key)} does not let account {target['account']} in: it is copied under "
            f"{_arn(other)} first") if barred else ""


def _may_copy(entry: dict[str, Any], source_key: str, target: Mapping[str, Any]) -> None:
    own = target.get("target_key") or {}
    # What another key reads was looked at already where accounts differ; within one account it stands here.
    entry["problem"] = (own.get("problem") or refused(entry["checks"], OPEN, source_key, target["account"])
                        or refused(entry["checks"], SEAL, _arn(own), target["account"]))
    if entry["problem"]:
        entry["steps"] = []


def _arn(key: Mapping[str, Any] | None) -> str:
    return str((key or {}).get("arn") or "")


def calls(entry: Mapping[str, Any]) -> list[str]:
    """The calls that an entry means, in order, for people."""
    target, said = entry["target"], []
    if entry["problem"]:
        return []
    for step in entry["steps"]:
        if step == REENCRYPT:
            said.append(f"CopySnapshot in {entry['region']} by account {entry['account']}, under {_arn(target['key'])}")
        elif step == SHARE:
            said.append(f"ModifySnapshotAttribute by account {entry['account']}: createVolumePermission for "
                        f"{target['account']}")
        elif step == COPY:
            under = _arn(target.get("target_key")) or "the account's default key"
            said.append(f"CopySnapshot into {target['region']} by account {target['account']}, under {under}")
        elif step == LOCK:
            lock = target["lock"]
            said.append(f"LockSnapshot: {lock['mode']}, {lock['days']} days"
                        + (f", {lock['cool_off_hours']} hours to think it over" if lock["cool_off_hours"] else ""))
        else:
            said.append(f"DescribeSnapshots, ListSnapshotBlocks and GetSnapshotBlock by account {target['account']}")
    return said
