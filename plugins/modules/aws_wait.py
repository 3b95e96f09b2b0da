#!/usr/bin/python
# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One slice of a wait for AWS; the action plugin of the same name waits on."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: aws_wait
version_added: 0.1.0
short_description: Wait for AWS, with a line of progress every few seconds
description:
  - Waits for what takes long at AWS, and says in the job output how far it is.
    The other tasks start things with C(wait=false) and leave the waiting to this one.
  - Ends as soon as the wait is pointless, with the reason that AWS gives.
  - This is an action plugin. The module of the same name looks for a few seconds, the action calls it until the end.
options:
  kind:
    description:
      - What to wait for.
      - V(snapshot) is completed. State C(error) fails with AWS's own message, which arrives long after the copy was
        started.
      - V(instance) is running. One that died fails with its reason.
      - V(instance_terminated) is gone.
      - V(volume) reaches O(target). One that vanished was refused by KMS, and the failure says so.
      - V(volume_deleted) is gone.
      - V(console) of the instance shows the SSH host keys of its first boot.
      - V(artifacts) below O(prefix) are complete, that is, C(complete.json) is there; or the host that
        should write it has terminated; or O(timeout) has passed. None of these fails the task, see RV(outcome).
    type: str
    required: true
    choices: [snapshot, instance, instance_terminated, volume, volume_deleted, console, artifacts]
  id:
    description: The snapshot, instance or volume. Needed for every kind but V(artifacts).
    type: str
  target:
    description: The state that O(kind=volume) waits for.
    type: str
    choices: [available, in-use]
    default: available
  bucket:
    description: Where O(kind=artifacts) looks.
    type: str
  bucket_region:
    description: The region of O(bucket), where it is not O(region).
    type: str
  prefix:
    description: Below which O(kind=artifacts) looks. Objects in folders below it belong to others.
    type: str
  more_prefixes:
    description:
      - What else O(kind=artifacts) counts, such as the artifacts of each volume in the folders of several snapshots.
        The marker is looked for below O(prefix) alone.
    type: list
    elements: str
    default: []
  instance_id:
    description: The instance that writes the artifacts of O(kind=artifacts). When it has ended, nothing more will come.
    type: str
  latest:
    description:
      - Until when, in UTC, the host of O(kind=artifacts) may be prolonged. A marker of the host that says so
        (C(extended-until-....json)) is honoured up to this moment. Empty honours none.
    type: str
    default: ""
  grace:
    description:
      - Wait on after O(timeout) for a host that was prolonged, until so many seconds after its new end.
      - Without it, such a marker is only reported, as RV(extended_until).
    type: float
  assume_role:
    description:
      - The role of another account as which AWS is asked. Each slice of the wait has a session of its own.
    type: dict
    suboptions:
      role_arn:
        description: The role.
        type: str
        required: true
      external_id:
        description: What its trust policy wants to hear.
        type: str
      session_name:
        description: Under which name the account's CloudTrail shows it.
        type: str
        required: true
      source_identity:
        description: Who is behind it. The trust policy must allow it.
        type: str
  timeout:
    description: After how many seconds to give up.
    type: int
    default: 1800
  interval:
    description:
      - Seconds between two looks.
      - By default one at the beginning, longer and longer, at most ten.
    type: float
  not_found_grace:
    description: For how many seconds a new object may be invisible before its absence counts.
    type: float
    default: 30
  record:
    description:
      - Arguments for M(dfir.aws.request_record), called with C(state=renewed) whenever half a minute has passed,
        so that the lease of a request does not run out while its run waits.
    type: dict
  elapsed:
    description: How long the wait has lasted, and O(seen) whether the object was there. Set by the action.
    type: float
    default: 0
  seen:
    description: See O(elapsed).
    type: bool
    default: false
  slice:
    description: After how many seconds the module reports to the action, even when nothing has happened.
    type: float
    default: 6
attributes:
  check_mode:
    description: Looks once, does not wait, and does not fail when the end is not reached.
    support: full
  diff_mode:
    description: Changes nothing.
    support: none
  idempotent:
    description: Changes nothing.
    support: full
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
author:
  - The dfir.aws authors (@dfir-aws)
seealso:
  - module: dfir.aws.request_resources_info
"""

EXAMPLES = r"""
- name: Wait until the copy is completed
  dfir.aws.aws_wait:
    kind: snapshot
    id: "{{ copy.snapshot_id }}"
    region: eu-west-1
    timeout: 14400

- name: Learn the host's SSH keys from its console
  dfir.aws.aws_wait:
    kind: console
    id: i-0123456789abcdef0
    region: eu-west-1
  register: console

- name: Wait for the results of an analysis
  dfir.aws.aws_wait:
    kind: artifacts
    bucket: my-artifacts
    prefix: INC-2026-1/snap-0123456789abcdef0/
    instance_id: i-0123456789abcdef0
    region: eu-west-1
    timeout: 28800
  register: results
"""

RETURN = r"""
reached:
  description: Whether what was waited for is there.
  type: bool
  returned: always
state:
  description: The last state seen, in AWS's word.
  type: str
  returned: always
  sample: completed
ended_at:
  description: When the wait ended, in UTC.
  type: str
  returned: always
  sample: "2026-01-31T12:00:00Z"
waited:
  description: Seconds that the wait took.
  type: float
  returned: always
snapshot:
  description: The snapshot as DescribeSnapshots shows it.
  type: dict
  returned: when I(kind=snapshot)
instance:
  description: The instance as DescribeInstances shows it.
  type: dict
  returned: when I(kind=instance) or I(kind=instance_terminated)
volume:
  description: The volume as DescribeVolumes shows it.
  type: dict
  returned: when I(kind=volume) or I(kind=volume_deleted)
host_keys:
  description: Public SSH host keys from the console.
  type: list
  elements: dict
  returned: when I(kind=console) and reached
  contains:
    type:
      description: Kind of key.
      type: str
      sample: ssh-ed25519
    key:
      description: The key in base64.
      type: str
    fingerprint:
      description: Its fingerprint as SSH clients show it.
      type: str
      sample: SHA256:…
fingerprints:
  description: The fingerprints alone.
  type: list
  elements: str
  returned: when I(kind=console) and reached
outcome:
  description: How the wait for artifacts ended.
  type: str
  returned: when I(kind=artifacts)
  choices: [complete, ended, timeout]
objects:
  description: The artifacts that are there, newest first.
  type: list
  elements: dict
  returned: when I(kind=artifacts)
  contains:
    name:
      description: Name below I(prefix).
      type: str
    size:
      description: Bytes.
      type: int
    written:
      description: When, in UTC.
      type: str
extended_until:
  description: Until when the host was prolonged, O(latest) at most, in UTC; empty where it was not.
  type: str
  returned: when I(kind=artifacts)
analyst:
  description: The analyst's folder in numbers.
  type: dict
  returned: when I(kind=artifacts)
  contains:
    files:
      description: How many objects are saved of it.
      type: int
    bytes:
      description: How many bytes.
      type: int
    saved_at:
      description: When the newest of them was written, in UTC; empty without any.
      type: str
marker:
  description: What C(complete.json) says, reduced to numbers and plain words; null without it.
  type: dict
  returned: when I(kind=artifacts)
summary:
  description: What C(summary.json) says, reduced to numbers and plain words; null without it.
  type: dict
  returned: when I(kind=artifacts)
hashes:
  description: The SHA-256 of C(complete.json) and C(summary.json), as they were read, by their names.
  type: dict
  returned: when I(kind=artifacts)
"""

import time
from typing import Any

from ansible_collections.dfir.aws.plugins.module_utils.assumed_role import OPTION
from ansible_collections.dfir.aws.plugins.module_utils.aws_module import AwsModule
from ansible_collections.dfir.aws.plugins.module_utils.waits import KINDS, Look, Wait, is_passing

try:
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError:  # AnsibleAWSModule says so in a sentence
    BotoCoreError = ClientError = Exception

ARGUMENTS: dict[str, dict[str, Any]] = {
    "kind": {"type": "str", "required": True, "choices": list(KINDS)},
    "id": {"type": "str"},
    "target": {"type": "str", "choices": ["available", "in-use"], "default": "available"},
    "bucket": {"type": "str"},
    "bucket_region": {"type": "str"},
    "prefix": {"type": "str"},
    "more_prefixes": {"type": "list", "elements": "str", "default": []},
    "instance_id": {"type": "str"},
    "latest": {"type": "str", "default": ""},
    "grace": {"type": "float"},
    "timeout": {"type": "int", "default": 1800},
    "assume_role": {"type": "dict", "options": OPTION},
    "interval": {"type": "float"},
    "not_found_grace": {"type": "float", "default": 30},
    "record": {"type": "dict"},
    "elapsed": {"type": "float", "default": 0},
    "seen": {"type": "bool", "default": False},
    "slice": {"type": "float", "default": 6},
}
REQUIRED_IF = [("kind", kind, ["bucket", "prefix"] if kind == "artifacts" else ["id"]) for kind in KINDS]


def pause(elapsed: float, interval: float | None) -> float:
    """Seconds until the next look: short at first, when much ends at once, at most ten."""
    return interval if interval is not None else min(10.0, max(0.5, elapsed / 12))


def look_for_a_while(wait: Wait, *, interval: float | None, until: float) -> Look:
    """Look until something final is seen, something has changed, or `until` (on the monotonic clock) has come."""
    started, before = time.monotonic() - wait.elapsed, None
    while True:
        try:
            look = KINDS[wait.params["kind"]](wait)
        except (ClientError, BotoCoreError) as error:
            # A wait may last for hours: AWS out of breath for a moment does not end it, time-outs do.
            if not is_passing(error):
                raise
            look = Look(f"AWS does not answer ({type(error).__name__}), trying again", "unanswered")
        now = time.monotonic()
        wait.elapsed = now - started
        rest = until - now
        if look.final or rest <= 0 or (before is not None and look.text != before):
            return look
        before = look.text
        time.sleep(min(rest, pause(wait.elapsed, interval)))


def main() -> None:
    """Entry point."""
    module = AwsModule(argument_spec=ARGUMENTS, required_if=REQUIRED_IF, supports_check_mode=True)
    params = {**module.params, "region": module.region}
    clients: dict[str, Any] = {}

    def client(service: str) -> Any:
        if service not in clients:
            extra = {"region": params["bucket_region"]} if service == "s3" and params["bucket_region"] else {}
            clients[service] = module.client(service, **extra)
        return clients[service]

    wait = Wait(params, client, elapsed=params["elapsed"], seen=params["seen"])
    seconds = 0.0 if module.check_mode else min(params["slice"], max(0.0, params["timeout"] - params["elapsed"]))
    try:
        look = look_for_a_while(wait, interval=params["interval"], until=time.monotonic() + seconds)
    except (ClientError, BotoCoreError) as error:
        module.fail_json_aws(error, msg=f"Cannot look at {params['id'] or params['prefix']} ({params['kind']})")
    result = {
        "changed": False, "reached": look.reached, "over": look.over, "state": look.state, "text": look.text,
        "percent": look.percent, "seen": wait.seen, **look.data,
    }
    if look.problem:
        module.fail_json(msg=look.problem, **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
