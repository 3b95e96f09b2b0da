# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Looks at snapshots that are to be shared, at what was made of them before, and at the keys in between. Changes
nothing.

`Reach` is whoever gives clients of an account: `client(service, account, region)`, and `principal(account)`, the ARN of
the identity that works there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from ..waits import code_of
from . import keys
from .locks import NO_SUCH_CALL
from .plan import AWS_MANAGED
from .words import OPEN, SEAL, aws_said

try:
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError:  # AnsibleAWSModule says so in a sentence
    BotoCoreError = ClientError = Exception  # type: ignore[assignment,misc]

SHARING, REENCRYPTED, COPIED = "dfir:sharing", "reencrypted", "copy"
SOURCE, SOURCE_REGION = "dfir:source-snapshot", "dfir:source-region"
ABSENT = ("InvalidSnapshot.NotFound", "InvalidSnapshotID.Malformed")
UNKNOWN: dict[str, Any] = {}


class Reach(Protocol):
    """Clients of accounts."""

    def client(self, service: str, account: str, region: str, *, once: bool = False) -> Any:
        """A client of a service with an account's identity; `once`: it never tries again by itself."""

    def principal(self, account: str) -> str:
        """The ARN of that identity."""


def described(ec2: Any, snapshot_id: str) -> dict[str, Any]:
    """A snapshot by its id; nothing when it is not there, or not visible to whoever asks."""
    try:
        found = ec2.describe_snapshots(SnapshotIds=[snapshot_id])["Snapshots"]
    except ClientError as error:
        if code_of(error) in ABSENT:
            return {}
        raise
    return dict(found[0]) if found else {}


def made_of(ec2: Any, kind: str, snapshot_id: str, region: str) -> list[dict[str, Any]]:
    """The account's own snapshots that this collection made of one, oldest first."""
    wanted = {f"tag:{SHARING}": kind, f"tag:{SOURCE}": snapshot_id, f"tag:{SOURCE_REGION}": region}
    pages = ec2.get_paginator("describe_snapshots").paginate(
        OwnerIds=["self"], Filters=[{"Name": name, "Values": [value]} for name, value in wanted.items()])
    found = [item for page in pages for item in page["Snapshots"]]
    return sorted(found, key=lambda item: (str(item.get("StartTime") or ""), item["SnapshotId"]))


def short(item: Mapping[str, Any]) -> dict[str, Any]:
    """What later steps need of a snapshot."""
    return {"snapshot_id": str(item["SnapshotId"]), "state": str(item.get("State") or ""),
            "owner": str(item.get("OwnerId") or ""), "encrypted": bool(item.get("Encrypted")),
            "kms_key_id": str(item.get("KmsKeyId") or ""), "message": str(item.get("StateMessage") or "")}


def good(found: Sequence[Mapping[str, Any]], key: str = "") -> dict[str, Any]:
    """The oldest that is no carcass, and under a key where one is named; nothing otherwise."""
    for item in found:
        if item.get("State") in ("pending", "completed") and (not key or item.get("KmsKeyId") == key):
            return short(item)
    return {}


def shared_with(ec2: Any, snapshot_id: str, account: str) -> bool:
    """Whether an account, or everybody, may use a snapshot. Only its owner may ask."""
    answer = ec2.describe_snapshot_attribute(SnapshotId=snapshot_id, Attribute="createVolumePermission")
    return any(entry.get("UserId") == account or entry.get("Group") == "all"
               for entry in answer.get("CreateVolumePermissions") or [])


def lock_of(ec2: Any, snapshot_id: str) -> dict[str, Any]:
    """A snapshot's lock as AWS tells it; nothing where there is none, and where there are no locks at all."""
    try:
        found = ec2.describe_locked_snapshots(SnapshotIds=[snapshot_id])["Snapshots"]
    except (ClientError, AttributeError) as error:
        if code_of(error) in NO_SUCH_CALL or isinstance(error, AttributeError):
            return {}
        raise
    return {name: value if isinstance(value, (int, str)) else value.strftime("%Y-%m-%dT%H:%M:%SZ")
            for name, value in (found[0] if found else {}).items()}


class Looker:
    """Looks at snapshots for one target; what was asked of a key is asked once."""

    def __init__(self, reach: Reach, target: Mapping[str, Any]) -> None:
        self._reach, self._target = reach, target
        self._known: dict[tuple[str, ...], Any] = {}

    def facts(self, item: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any], list[dict[str, str]]]:
        """Facts of a snapshot, the target with its keys, and what the pre-flight of the keys says."""
        target = self._with_keys(item)
        try:
            facts = self._snapshot(item, target)
            return facts, target, self._checks(facts, target)
        except (ClientError, BotoCoreError) as error:
            told = {**blank(item), "problem": f"{item['snapshot_id']} could not be looked at in account "
                    f"{item['account']}: {aws_said(error)}"}
            return told, target, []

    def plain_target(self, item: Mapping[str, Any]) -> dict[str, Any]:
        """The target of a snapshot, when nobody could look at keys."""
        return {**{name: value for name, value in self._target.items() if name != "keys"}, "key": {}, "target_key": {},
                "region": self._target["region"] or item["region"]}

    def _with_keys(self, item: Mapping[str, Any]) -> dict[str, Any]:
        target = dict(self._target)
        by_region = target.pop("keys")
        target["region"] = target["region"] or item["region"]
        target["key"] = self._key(by_region.get(item["region"], ""), item["account"], item["region"])
        target["target_key"] = self._key(by_region.get(target["region"], ""), target["account"], target["region"])
        return target

    def _key(self, key: str, account: str, region: str) -> dict[str, Any]:
        """A key as its own account sees it, where that is one of both; else as the account that will use it."""
        if not key:
            return UNKNOWN
        owner = keys.account_of(key)
        account = owner if owner in (account, self._target["account"]) else account
        return self._once(("look", key, account, region),
                          lambda: keys.look(self._reach.client("kms", account, region), key))

    def _once(self, name: tuple[str, ...], ask: Callable[[], Any]) -> Any:
        if name not in self._known:
            self._known[name] = ask()
        return self._known[name]

    def _snapshot(self, item: Mapping[str, Any], target: Mapping[str, Any]) -> dict[str, Any]:
        name, account, region = item["snapshot_id"], item["account"], item["region"]
        source = self._reach.client("ec2", account, region)
        found = described(source, name)
        facts = {**blank(item), "state": str(found.get("State") or ""), "owner": str(found.get("OwnerId") or "")}
        if not found or facts["owner"] != account:
            return facts
        facts |= {"tier": str(found.get("StorageTier") or "standard"), "encrypted": bool(found.get("Encrypted")),
                  "size_gib": int(found.get("VolumeSize") or 0), "kms_key_id": str(found.get("KmsKeyId") or ""),
                  "tags": {tag["Key"]: tag["Value"] for tag in found.get("Tags") or []}}
        if facts["encrypted"]:
            facts["key"] = self._key(facts["kms_key_id"], account, region)
        stays, there = source, found
        if account != target["account"]:
            facts["shared"] = shared_with(source, name, target["account"])
            arn = (target["key"] or {}).get("arn", "")
            again = good(made_of(source, REENCRYPTED, name, region), arn) if arn else {}
            if again:
                again["shared"] = shared_with(source, again["snapshot_id"], target["account"])
            facts["reencrypted"] = again
            if again:
                there = {"SnapshotId": again["snapshot_id"]}
        moves = account != target["account"] or region != target["region"]
        if target["how"] == "copy" and moves:
            stays = self._reach.client("ec2", target["account"], target["region"])
            facts["copy"] = good(made_of(stays, COPIED, name, region))
            there = {"SnapshotId": facts["copy"]["snapshot_id"]} if facts["copy"] else {}
        facts["lock"] = lock_of(stays, there["SnapshotId"]) if there else {}
        return facts

    def _checks(self, facts: Mapping[str, Any], target: Mapping[str, Any]) -> list[dict[str, str]]:
        """Ask the keys, as far as they come into play."""
        if facts["problem"] or facts["state"] != "completed" or facts["owner"] != facts["account"] or facts["copy"]:
            return []
        account, region, other = facts["account"], facts["region"], target["account"]
        source, anew = facts.get("key") or {}, target["key"] or {}
        own, found = target["target_key"] or {}, []
        across = account != other
        default = source.get("manager") == AWS_MANAGED
        # The default key of its own account is usable by way of EC2, and only so: there is nothing to ask.
        if source and not source.get("problem") and not default and (across or region != target["region"]):
            found += self._ask(OPEN, source["arn"], other, region, account)
        barred = keys.refused(found, OPEN, source.get("arn", ""), other)
        if across and anew and not anew.get("problem") and source and (default or barred):
            if not default:
                found += self._ask(OPEN, source["arn"], account, region, account)
            found += self._ask(SEAL, anew["arn"], account, region, account)
            found += self._ask(OPEN, anew["arn"], other, region, account)
        if own and not own.get("problem") and target["how"] == "copy" and (across or region != target["region"]):
            found += self._ask(SEAL, own["arn"], other, target["region"], account)
        return found

    def _ask(self, purpose: str, key: str, who: str, region: str, source: str) -> list[dict[str, str]]:
        owner = keys.account_of(key)
        near = owner if owner in (source, self._target["account"]) else ""
        tied = self._once(("policy", key), lambda: keys.policy_of(
            self._reach.client("kms", near, region), key)) if near else None
        ciphertext = self._once(("sample", key), lambda: keys.sample(
            self._reach.client("kms", near or who, region), key)) if purpose == OPEN else None
        asked: list[dict[str, str]] = self._once((purpose, key, who), lambda: keys.check(
            self._reach.client("kms", who, region), key, purpose=purpose, account=who,
            principal=self._reach.principal(who), tied=tied, ciphertext=ciphertext))
        return asked


def blank(item: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of a snapshot of which nothing is known yet."""
    return {"snapshot_id": str(item["snapshot_id"]), "account": str(item["account"]), "region": str(item["region"]),
            "state": "", "owner": "", "tier": "standard", "encrypted": bool(item.get("encrypted")), "size_gib": 0,
            "kms_key_id": str(item.get("kms_key_id") or ""), "tags": {}, "key": {}, "shared": False, "reencrypted": {},
            "copy": {}, "lock": {}, "problem": ""}
