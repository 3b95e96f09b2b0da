# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Does what a plan says, a step at a time. Each step finds what is there already, and a snapshot whose step fails stays
out of those that follow, with a sentence.

CopySnapshot knows no client token: the call is made once, and a copy whose answer was lost is found by its tags. What
KMS refuses comes later, as state error of the copy (pitfall 35): it is told in the words of the pre-flight, and
what is left of the copy is removed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from ..waits import THROTTLED, UNREACHABLE, code_of
from . import locks
from .find import (
    COPIED,
    REENCRYPTED,
    SHARING,
    SOURCE,
    SOURCE_REGION,
    Reach,
    described,
    good,
    made_of,
    shared_with,
    short,
)
from .keys import all_ok
from .plan import COPY, LOCK, REENCRYPT, SHARE, VERIFY
from .verify import read
from .words import OPEN, SEAL, aws_said, default_key, refusal

try:
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError:  # AnsibleAWSModule says so in a sentence
    BotoCoreError = ClientError = Exception  # type: ignore[assignment,misc]

ATTEMPTS = 6
LOOKS, PAUSE = 5, 3.0
# Where a piece of evidence comes from goes along; what would make it part of something else does not.
CARRIED = ("dfir:source-instance", "dfir:source-volume", "dfir:device")


class Failed(Exception):
    """One sentence that says why a step was not done."""


def tags(entry: Mapping[str, Any], kind: str, options: Mapping[str, Any]) -> dict[str, str]:
    """The tags of the creating call. No `dfir:request` and no `dfir:expires`: evidence goes with nobody's request."""
    carried = {name: entry["tags"][name] for name in CARRIED if name in entry["tags"]}
    return {**carried, "Name": f"Forensics {options['incident']} {entry['snapshot_id']} {kind}", SHARING: kind,
            "dfir:incident": options["incident"], "dfir:analyst": options["analyst"], SOURCE: entry["snapshot_id"],
            SOURCE_REGION: entry["region"], "dfir:source-account": entry["account"]}


def step(reach: Reach, name: str, entry: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """One step of one snapshot. `changed` says whether anything was."""
    out = {**entry, "changed": False}
    if entry["problem"] or name not in entry["steps"]:
        return out
    try:
        _STEPS[name](reach, out, options)
    except Failed as failed:
        out["problem"] = str(failed)
    except (ClientError, BotoCoreError) as error:
        out["problem"] = f"{entry['snapshot_id']}: {name} failed: {aws_said(error)}"
    return out


def _reencrypt(reach: Reach, entry: dict[str, Any], options: Mapping[str, Any]) -> None:
    key = entry["target"]["key"]["arn"]
    entry["reencrypted"] = _copy(reach, entry, REENCRYPTED, options, account=entry["account"], region=entry["region"],
                                 source=entry["snapshot_id"], key=key)


def _share(reach: Reach, entry: dict[str, Any], _options: Mapping[str, Any]) -> None:
    name, ec2 = _shared_id(entry), reach.client("ec2", entry["account"], entry["region"])
    if entry["reencrypt_why"]:
        _settle(ec2, entry, entry["reencrypted"], [(SEAL, entry["target"]["key"]["arn"]), (OPEN, entry["key"]["arn"])],
                entry["account"])
    account = entry["target"]["account"]
    if shared_with(ec2, name, account):
        return
    try:
        ec2.modify_snapshot_attribute(SnapshotId=name, Attribute="createVolumePermission", OperationType="add",
                                      UserIds=[account])
    except ClientError as error:
        if "default" in str(error).lower() and "key" in str(error).lower():
            raise Failed(f"{default_key(name, entry['region'])} ({aws_said(error)})") from error
        raise
    entry["changed"] = entry["shared_now"] = True


def _copy_over(reach: Reach, entry: dict[str, Any], options: Mapping[str, Any]) -> None:
    target = entry["target"]
    entry["copy"] = _copy(reach, entry, COPIED, options, account=target["account"], region=target["region"],
                          source=_shared_id(entry), key=(target.get("target_key") or {}).get("arn", ""))


def _shared_id(entry: Mapping[str, Any]) -> str:
    """The snapshot that the other account is let into."""
    return str(entry["reencrypted"]["snapshot_id"] if entry["reencrypt_why"] else entry["snapshot_id"])


def _copy(reach: Reach, entry: dict[str, Any], kind: str, options: Mapping[str, Any], *, account: str, region: str,
          source: str, key: str) -> dict[str, Any]:
    ec2 = reach.client("ec2", account, region)
    under = key if kind == REENCRYPTED else ""

    def there() -> dict[str, Any]:
        return good(made_of(ec2, kind, entry["snapshot_id"], entry["region"]), under)

    found = there()
    if found:
        return found
    arguments = {
        "SourceSnapshotId": source, "SourceRegion": entry["region"], "Encrypted": True,
        "Description": f"Forensics: {kind} of {entry['snapshot_id']} of account {entry['account']} for incident "
                       f"{options['incident']}"[:255],
        "TagSpecifications": [{"ResourceType": "snapshot", "Tags": [
            {"Key": name, "Value": value} for name, value in tags(entry, kind, options).items()]}],
        **({"KmsKeyId": key} if key else {})}
    made = _call_once(reach.client("ec2", account, region, once=True), arguments, there)
    entry["changed"] = True
    first = _visible(there)
    if first and first["snapshot_id"] != made:
        # Somebody else was quicker, and every run finds out the same: the oldest stays.
        ec2.delete_snapshot(SnapshotId=made)
        return first
    return first or {"snapshot_id": made, "state": "pending", "owner": account, "encrypted": True, "kms_key_id": key,
                     "message": ""}


def _call_once(once: Any, arguments: Mapping[str, Any], there: Callable[[], dict[str, Any]]) -> str:
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return str(once.copy_snapshot(**arguments)["SnapshotId"])
        except (ClientError, BotoCoreError) as error:
            if type(error).__name__ in UNREACHABLE:
                found = _visible(there)
                if found:
                    return str(found["snapshot_id"])
                raise Failed(f"AWS was not heard of after CopySnapshot was called ({error}), and no copy is there. Run "
                             "it again: a copy that was begun is found then.") from error
            # A share shows with some delay, too.
            if (code_of(error) not in (*THROTTLED, "InvalidSnapshot.NotFound")) or attempt == ATTEMPTS:
                raise
            time.sleep(min(PAUSE, 0.5 * 2.0 ** attempt))
    raise AssertionError


def _visible(there: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    for number in range(LOOKS):
        if number:
            time.sleep(PAUSE)
        found = there()
        if found:
            return found
    return {}


def _settle(ec2: Any, entry: dict[str, Any], copy: dict[str, Any], suspects: list[tuple[str, str]],
            account: str) -> None:
    """What became of a copy that was waited for; `Failed` unless it is completed."""
    found = described(ec2, copy["snapshot_id"])
    if not found:
        raise Failed(f"The copy {copy['snapshot_id']} of {entry['snapshot_id']} is gone: somebody deleted it, or AWS "
                     "took it back. Run it again.")
    copy.update(short(found))
    if copy["state"] == "completed":
        return
    if copy["state"] != "error":
        raise Failed(f"The copy {copy['snapshot_id']} of {entry['snapshot_id']} is {copy['state']}. It goes on without "
                     "us: run it again, it is taken up.")
    said = copy["message"] or "AWS gives no reason"
    ec2.delete_snapshot(SnapshotId=copy["snapshot_id"])
    entry["changed"] = True
    raise Failed(late(entry, suspects, account, said, copy["snapshot_id"]))


def late(entry: Mapping[str, Any], suspects: list[tuple[str, str]], account: str, said: str, name: str) -> str:
    """Why a copy ended in state error, in the words of the pre-flight where a key is the reason.

    :param suspects: purposes and keys that the copy needed, the likeliest first. One that answered yes to everything is
    none.
    """
    after = f"(AWS, later, of the copy {name}, which is removed: {said})"
    if "key" not in said.lower() and "kms" not in said.lower():
        return f"The copy of {entry['snapshot_id']} failed. {after}"
    left = [(purpose, key) for purpose, key in suspects if key]
    doubted = [pair for pair in left if not all_ok(entry["checks"], pair[0], pair[1], account)] or left
    if not doubted:
        return f"The copy of {entry['snapshot_id']} failed at a key. {after}"
    purpose, key = doubted[0]
    return f"{refusal(purpose, key, account)} {after}"


def settle_copy(reach: Reach, entry: dict[str, Any]) -> None:
    """See what became of the copy in the other account."""
    target = entry["target"]
    shared_key = str(entry["reencrypted"]["kms_key_id"] if entry["reencrypt_why"] else entry["kms_key_id"])
    ec2 = reach.client("ec2", target["account"], target["region"])
    _settle(ec2, entry, entry["copy"], [(OPEN, shared_key), (SEAL, (target.get("target_key") or {}).get("arn", ""))],
            target["account"])


def stays(entry: Mapping[str, Any]) -> tuple[str, str, str]:
    """What is locked and read in the end: id, owner's account and region."""
    if entry["copy"]:
        return str(entry["copy"]["snapshot_id"]), str(entry["target"]["account"]), str(entry["target"]["region"])
    return _shared_id(entry), str(entry["account"]), str(entry["region"])


def _lock(reach: Reach, entry: dict[str, Any], options: Mapping[str, Any]) -> None:
    lock = entry["target"]["lock"]
    if lock["mode"] == locks.COMPLIANCE:  # asked again, whichever way an entry came here
        lock = locks.checked(lock["mode"], lock["days"], lock["cool_off_hours"], options["confirmation"],
                             options["incident"])
    name, account, region = stays(entry)
    ec2 = reach.client("ec2", account, region)
    try:
        answer = ec2.lock_snapshot(**locks.arguments(name, lock, entry["lock"]))
    except (ClientError, AttributeError) as error:
        if not isinstance(error, AttributeError) and code_of(error) not in locks.NO_SUCH_CALL:
            raise
        entry["notes"] = [*entry["notes"], f"NOT locked: there is no LockSnapshot in {region} ({aws_said(error)})"]
        return
    entry["changed"] = True
    entry["lock"] = {key: value if isinstance(value, (int, str)) else value.strftime("%Y-%m-%dT%H:%M:%SZ")
                     for key, value in answer.items() if key != "ResponseMetadata"}


def _verify(reach: Reach, entry: dict[str, Any], _options: Mapping[str, Any]) -> None:
    name, _owner, region = stays(entry)
    key = str(entry["copy"]["kms_key_id"] if entry["copy"] else
              entry["reencrypted"]["kms_key_id"] if entry["reencrypt_why"] else entry["kms_key_id"])
    entry["verified"], entry["words"] = read(reach, name, entry["target"]["account"], region, key)
    if not entry["verified"]:
        raise Failed(entry["words"])
    _take_back(reach, entry)


def _take_back(reach: Reach, entry: dict[str, Any]) -> None:
    """The permission that this run gave is of no more use once the other account has a copy of its own."""
    if entry["copy"] and entry.get("shared_now"):
        reach.client("ec2", entry["account"], entry["region"]).modify_snapshot_attribute(
            SnapshotId=_shared_id(entry), Attribute="createVolumePermission", OperationType="remove",
            UserIds=[entry["target"]["account"]])
        entry["notes"] = [*entry["notes"], f"the permission on {_shared_id(entry)} was taken back: the copy needs it "
                                           "no more"]


def _settled(then: Callable[[Reach, dict[str, Any], Mapping[str, Any]], None]) -> Any:
    """A step that begins with what became of the copy."""

    def run(reach: Reach, entry: dict[str, Any], options: Mapping[str, Any]) -> None:
        if entry["copy"] and COPY in entry["steps"]:
            settle_copy(reach, entry)
        then(reach, entry, options)

    return run


_STEPS: dict[str, Callable[[Reach, dict[str, Any], Mapping[str, Any]], None]] = {
    REENCRYPT: _reencrypt, SHARE: _share, COPY: _copy_over, LOCK: _settled(_lock), VERIFY: _settled(_verify)}


def waiting(entry: Mapping[str, Any], name: str) -> dict[str, str]:
    """What a step began that is to be waited for; nothing when there is nothing."""
    copy = entry["reencrypted"] if name == REENCRYPT else entry["copy"] if name == COPY else {}
    if entry["problem"] or name not in entry["steps"] or not copy or copy["state"] == "completed":
        return {}
    target = entry["target"]
    where = (entry["account"], entry["region"]) if name == REENCRYPT else (target["account"], target["region"])
    return {"snapshot_id": copy["snapshot_id"], "account": where[0], "region": where[1], "of": entry["snapshot_id"]}


def result(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What came of a snapshot, for whoever asked."""
    failed = bool(entry["problem"])
    name, account, region = ("", "", "") if failed else stays(entry)
    target, lock = entry["target"], entry.get("lock") or {}
    state = "failed" if failed else "copied" if entry["copy"] else \
        "shared" if entry["account"] != target["account"] else "in place"
    last = entry["copy"] or (entry["reencrypted"] if entry["reencrypt_why"] else entry)
    key = str(last.get("kms_key_id") or "")
    return {
        "source_snapshot_id": entry["snapshot_id"], "source_account": entry["account"],
        "source_region": entry["region"], "snapshot_id": name, "account": account, "region": region,
        "readable_by": "" if failed else target["account"], "state": state, "verified": bool(entry.get("verified")),
        "encrypted": bool(last.get("encrypted")), "kms_key_id": key, "lock": str(lock.get("LockState") or "none"),
        "locked_until": str(lock.get("LockExpiresOn") or ""), "problem": entry["problem"],
        "notes": list(entry["notes"]), "words": entry["problem"] or str(entry.get("words") or ""),
        "intermediate": str((entry["reencrypted"] or {}).get("snapshot_id", "")) if entry["copy"] else "",
    }
