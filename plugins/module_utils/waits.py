# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the waits of this collection look at: one function a kind, each takes one look at AWS and says how far it is.

A look never sleeps. Whoever waits (module aws_wait) looks again.
"""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .console_keys import host_keys
from .extension import extended_until
from .plain_facts import WORD, numbers_and_words

try:
    from botocore.exceptions import ClientError
except ImportError:  # AnsibleAWSModule says so in a sentence
    ClientError = Exception  # type: ignore[assignment,misc]

MARKER = "complete.json"
SUMMARY = "summary.json"
ANALYST = "analyst/"
# A hostile host writes these two objects: more than this is not numbers and enumerations.
FACTS_LIMIT = 1024 * 1024
THROTTLED = ("RequestLimitExceeded", "Throttling", "ThrottlingException", "SlowDown", "RequestThrottledException")
UNREACHABLE = ("ConnectTimeoutError", "ConnectionClosedError", "ConnectionError", "EndpointConnectionError",
               "HTTPClientError", "ReadTimeoutError")
DEAD_STATES = ("shutting-down", "terminated", "stopping", "stopped")


@dataclass
class Look:
    """What one look saw. `problem` ends the wait as a failure, `reached` or `over` end it in peace."""

    text: str
    state: str = ""
    reached: bool = False
    over: bool = False  # nothing more will come, although the end was not reached
    problem: str = ""
    percent: int | None = None
    data: dict[str, Any] = field(default_factory=dict)

    @property
    def final(self) -> bool:
        return self.reached or self.over or bool(self.problem)


@dataclass
class Wait:
    """One wait: what for, with which clients, and what earlier looks saw."""

    params: Mapping[str, Any]
    client: Callable[[str], Any]
    elapsed: float = 0.0
    seen: bool = False  # an earlier look saw the object: from now on its absence means something

    @property
    def id(self) -> str:
        return str(self.params["id"])

    def missing(self, look: Look) -> Look:
        """The object is not there. AWS shows a new object with some delay, so absence counts after a while only."""
        if self.seen or self.elapsed > float(self.params["not_found_grace"]):
            return look
        return Look(f"{self.id} is not visible yet", state="missing")


def code_of(error: Exception) -> str:
    """The AWS error code, or an empty string."""
    return str(getattr(error, "response", {}).get("Error", {}).get("Code", ""))


def is_passing(error: Exception) -> bool:
    """Whether the same call may succeed a moment later: throttled, server trouble, no connection."""
    status = int(getattr(error, "response", {}).get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if isinstance(error, ClientError):
        return status >= 500 or code_of(error) in THROTTLED
    return type(error).__name__ in UNREACHABLE


def _describe(call: Callable[..., Any], key: str, **arguments: Any) -> dict[str, Any] | None:
    """One described object, or None where AWS says that there is none."""
    try:
        found = call(**arguments)[key]
    except ClientError as error:
        if code_of(error).endswith(".NotFound"):
            return None
        raise
    return found[0] if found else None


def snapshot(wait: Wait) -> Look:
    """Until a snapshot is completed."""
    # By filter: an unknown id is then an empty answer everywhere, not an error here and a crash there.
    found = _describe(wait.client("ec2").describe_snapshots, "Snapshots",
                      Filters=[{"Name": "snapshot-id", "Values": [wait.id]}])
    if found is None:
        problem = f"Snapshot {wait.id} is not (or no longer) in {wait.params['region']}: it was deleted or unshared."
        return wait.missing(Look(problem, state="missing", problem=problem))
    wait.seen = True
    state = found["State"]
    percent = int(str(found.get("Progress") or "0").strip("%") or 0)
    data = {"snapshot": _plain(found)}
    if state == "completed":
        return Look(f"{wait.id} is completed", state, reached=True, percent=100, data=data)
    if state == "error":
        why = found.get("StateMessage") or "AWS gives no reason"
        problem = f"Snapshot {wait.id} is in state error: {why}"
        return Look(problem, state, problem=problem, data=data)
    if state in ("recoverable", "recovering"):
        problem = f"Snapshot {wait.id} is {state}: it lies in the recycle bin, restore it first."
        return Look(problem, state, problem=problem, data=data)
    return Look(f"{wait.id} {percent} %", state, percent=percent, data=data)


def _find_instance(wait: Wait, instance_id: str) -> dict[str, Any] | None:
    found = _describe(wait.client("ec2").describe_instances, "Reservations", InstanceIds=[instance_id])
    return found["Instances"][0] if found else None


def _end_of(instance: Mapping[str, Any]) -> str:
    reason = (instance.get("StateReason") or {}).get("Message") or instance.get("StateTransitionReason")
    return str(reason or "AWS gives no reason")


def instance(wait: Wait) -> Look:
    """Until an instance runs."""
    found = _find_instance(wait, wait.id)
    if found is None:
        problem = f"Instance {wait.id} does not exist in {wait.params['region']}."
        return wait.missing(Look(problem, state="missing", problem=problem))
    wait.seen = True
    state = found["State"]["Name"]
    data = {"instance": _plain(found)}
    if state in DEAD_STATES:
        problem = f"Instance {wait.id} is {state} instead of running: {_end_of(found)}"
        return Look(problem, state, problem=problem, data=data)
    return Look(f"{wait.id} is {state}", state, reached=state == "running", data=data)


def instance_terminated(wait: Wait) -> Look:
    """Until an instance is gone. One that AWS has forgotten is gone, too."""
    found = _find_instance(wait, wait.id)
    if found is None:
        return Look(f"{wait.id} is gone", "missing", reached=True)
    state = found["State"]["Name"]
    data = {"instance": _plain(found), "reason": _end_of(found) if state in DEAD_STATES else ""}
    if state == "stopped":
        problem = f"Instance {wait.id} stopped instead of terminating: its shutdown behavior was changed. Terminate it."
        return Look(problem, state, problem=problem, data=data)
    return Look(f"{wait.id} is {state}", state, reached=state == "terminated", data=data)


def volume(wait: Wait) -> Look:
    """Until a volume is available, or attached to an instance."""
    found = _describe(wait.client("ec2").describe_volumes, "Volumes", VolumeIds=[wait.id])
    if found is None:
        problem = (f"Volume {wait.id} vanished after it was created: AWS does that when the caller may not use the "
                   "KMS key of the snapshot or of the volume. Allow kms:Decrypt, kms:GenerateDataKeyWithoutPlaintext, "
                   "kms:ReEncrypt* and kms:CreateGrant on both keys.")
        return wait.missing(Look(problem, state="missing", problem=problem))
    wait.seen = True
    state, target = found["State"], wait.params.get("target") or "available"
    data = {"volume": _plain(found)}
    if state in ("error", "deleting", "deleted"):
        problem = f"Volume {wait.id} is in state {state} instead of {target}."
        return Look(problem, state, problem=problem, data=data)
    reached = state == target
    attachments = found.get("Attachments") or []
    if target == "in-use":
        state = attachments[0]["State"] if attachments else state
        reached = state == "attached"
    elif state == "in-use":  # it was available, and somebody has gone on already
        reached = True
    return Look(f"{wait.id} is {state}", state, reached=reached, data=data)


def volume_deleted(wait: Wait) -> Look:
    """Until a volume is gone."""
    found = _describe(wait.client("ec2").describe_volumes, "Volumes", VolumeIds=[wait.id])
    state = found["State"] if found else "missing"
    if state in ("missing", "deleted"):
        return Look(f"{wait.id} is gone", state, reached=True)
    return Look(f"{wait.id} is {state}", state, data={"volume": _plain(found or {})})


def console(wait: Wait) -> Look:
    """Until the console shows the SSH host keys that the instance made at its first boot."""
    ec2 = wait.client("ec2")
    try:
        output = ec2.get_console_output(InstanceId=wait.id, Latest=True)
    except ClientError as error:
        # Instance types before Nitro have no latest output, only what was kept at the last transition.
        if code_of(error) not in ("UnsupportedOperation", "InvalidParameterCombination"):
            raise
        output = ec2.get_console_output(InstanceId=wait.id)
    keys = host_keys(str(output.get("Output") or ""))
    if keys:
        words = f"{wait.id} shows its SSH host keys"
        return Look(words, "shown", reached=True, data={
            "host_keys": [key.as_dict() for key in keys], "fingerprints": [key.fingerprint for key in keys]})
    dead = instance(wait)
    if dead.problem:
        return dead
    return Look(f"{wait.id} is booting, no SSH host keys on its console yet", "booting")


def artifacts(wait: Wait) -> Look:
    """Until the completion marker lies in the bucket, or the host that should write it has ended."""
    s3 = wait.client("s3")
    bucket, prefix = wait.params["bucket"], wait.params["prefix"]
    listed = _listed(s3, bucket, prefix)
    own = _mine(listed, prefix)
    names = [entry["Key"][len(prefix):] for entry in own]
    objects = [*own, *(entry for more in wait.params.get("more_prefixes") or []
                       for entry in _mine(_listed(s3, bucket, more), more))]
    objects.sort(key=_age, reverse=True)
    data: dict[str, Any] = {
        "objects": [{"name": _name(entry), "size": entry["Size"], "written": _utc(entry["LastModified"])}
                    for entry in objects],
        "marker": None, "summary": None, "hashes": {}, "analyst": _of_the_analyst(listed, prefix),
        "extended_until": extended_until(names, str(wait.params.get("latest") or "")),
    }
    text = _newest(objects)
    if SUMMARY in names:
        data["summary"], data["hashes"][SUMMARY] = _facts(s3, bucket, prefix + SUMMARY)
    if MARKER in names:
        data["marker"], data["hashes"][MARKER] = _facts(s3, bucket, prefix + MARKER)
        return Look(f"{len(objects)} files, completion marker written", "complete", reached=True, data=data)
    if wait.params.get("instance_id"):
        host = _find_instance(wait, wait.params["instance_id"])
        if host is None or host["State"]["Name"] == "terminated":
            # One more listing: the marker may have been written between the first one and the end of the host.
            if any(entry["Key"] == prefix + MARKER for entry in _listed(s3, bucket, prefix)):
                return Look(text, "writing", data=data)
            return Look(f"{len(objects)} files, and the host has ended without a completion marker", "ended", over=True,
                        data=data)
    return Look(text, "writing", data=data)


def _listed(s3: Any, bucket: str, prefix: str) -> list[dict[str, Any]]:
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return [entry for page in pages for entry in page.get("Contents") or []]


def _mine(found: list[dict[str, Any]], prefix: str) -> list[dict[str, Any]]:
    # A later attempt writes below run-<id>/ of the same prefix: those are another request's artifacts.
    mine = [entry for entry in found if "/" not in entry["Key"][len(prefix):]]
    # Names are chosen on the host. One that is no plain word is nothing that the toolbox writes: not shown anywhere.
    mine = [entry for entry in mine if WORD.fullmatch(entry["Key"][len(prefix):])]
    return sorted(mine, key=_age, reverse=True)


def _of_the_analyst(found: list[dict[str, Any]], prefix: str) -> dict[str, Any]:
    """The analyst's folder in numbers: what is saved of it, and when that was done last."""
    saved = [entry for entry in found if entry["Key"].startswith(prefix + ANALYST)]
    last = max((entry["LastModified"] for entry in saved), default=None)
    return {"files": len(saved), "bytes": sum(entry["Size"] for entry in saved),
            "saved_at": _utc(last) if last else ""}


def _age(entry: Mapping[str, Any]) -> tuple[datetime.datetime, str]:
    return entry["LastModified"], entry["Key"]


def _name(entry: Mapping[str, Any]) -> str:
    """A file's name: prefixes end with a slash, or with the beginning of names."""
    return str(entry["Key"]).rpartition("/")[2]


def _newest(objects: list[dict[str, Any]]) -> str:
    if not objects:
        return "no file yet"
    newest = objects[0]
    count = "1 file" if len(objects) == 1 else f"{len(objects)} files"
    return f"{count}, newest {_name(newest)} ({readable_size(newest['Size'])})"


def _facts(s3: Any, bucket: str, key: str) -> tuple[Any, str]:
    """What an object says in numbers and words, and its SHA-256; None and nothing of one that is too large for that."""
    answer = s3.get_object(Bucket=bucket, Key=key)
    if answer["ContentLength"] > FACTS_LIMIT:
        return None, ""
    body = answer["Body"].read()
    sha256 = hashlib.sha256(body).hexdigest()
    try:
        return numbers_and_words(json.loads(body)), sha256
    except (ValueError, RecursionError):
        return None, sha256


def readable_size(count: float) -> str:
    """Bytes for people: 12 B, 3.4 KiB, 5 GiB."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if count >= 10 or unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def _utc(value: datetime.datetime) -> str:
    return value.astimezone(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _plain(value: Any) -> Any:
    """What botocore returns, in types that travel as JSON."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items() if key != "ResponseMetadata"}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return _utc(value) if isinstance(value, datetime.datetime) else value


KINDS: dict[str, Callable[[Wait], Look]] = {
    "snapshot": snapshot,
    "instance": instance,
    "instance_terminated": instance_terminated,
    "volume": volume,
    "volume_deleted": volume_deleted,
    "console": console,
    "artifacts": artifacts,
}
