#!/usr/bin/python
# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which host images which snapshot."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: ebs_image_claim
version_added: 0.1.0
short_description: Share snapshots among hosts that image them
description:
  - Hosts that know nothing of each other share the snapshots of a request by claims, small objects
    C(claims/<incident>/<snapshot_id>.json) in the bucket. They are created with C(If-None-Match) and changed with
    C(If-Match), so one snapshot is never taken by two.
  - Whoever holds a claim writes it again from time to time, which the modules that image and verify do with their
    option C(claim). One that was not written for O(lease_seconds), by the bucket's own clock, is taken over by the
    next.
options:
  state:
    description:
      - V(taken) takes the first snapshot that is free. Where none is, and others hold some, it waits until they are
        done or their claims run out. A host takes nothing again that it failed with in the same run.
      - V(done) says that the snapshot was imaged, with O(image).
      - V(failed) says that it could not be, with O(reason), and leaves it to other hosts and later runs.
      - V(read) only reads.
      - V(told) notes, once, that the summary of O(request_id) was sent.
    type: str
    choices: [taken, done, failed, read, told]
    required: true
  bucket:
    description: The artifact bucket. O(region) is its region.
    type: str
    required: true
  incident:
    description: The incident.
    type: str
    required: true
  snapshot_ids:
    description: The snapshots, for O(state=taken) and O(state=read).
    type: list
    elements: str
    default: []
  snapshot_id:
    description: The snapshot, for O(state=done) and O(state=failed).
    type: str
  request_id:
    description: The request, for O(state=told) and RV(told).
    type: str
    default: ""
  lease_seconds:
    description: How long a claim holds that nobody writes again.
    type: int
    default: 300
  image:
    description: What was made, for O(state=done).
    type: dict
    default: {}
  reason:
    description: Why it was not made, for O(state=failed).
    type: str
    default: ""
  holder:
    description: Who takes and holds claims. Default, this run of ansible-playbook on this host.
    type: str
  wait:
    description: Wait for snapshots that others hold.
    type: bool
    default: true
extends_documentation_fragment:
  - dfir.aws.ebs.worker
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
  - dfir.aws.aws.attributes
attributes:
  check_mode:
    support: full
    details: Nothing is taken and nothing is written.
  diff_mode:
    support: none
  idempotent:
    support: partial
    details: Taking takes another snapshot each time.
notes:
  - "Needed: C(s3:GetObject) and C(s3:PutObject) on C(claims/*), and C(s3:ListBucket) on the bucket, without which a
    claim that is not there looks like a refusal."
seealso:
  - module: dfir.aws.ebs_snapshot_image
author:
  - The dfir.aws authors (@dfir-aws)
"""

EXAMPLES = r"""
- name: Claim the next snapshot
  dfir.aws.ebs_image_claim:
    state: taken
    bucket: dfir-artifacts-123456789012
    region: eu-west-1
    incident: INC-2026-0042
    snapshot_ids: [snap-0123456789abcdef0, snap-0123456789abcdef1]
  register: claimed

- name: Say that it is done
  dfir.aws.ebs_image_claim:
    state: done
    bucket: dfir-artifacts-123456789012
    region: eu-west-1
    incident: INC-2026-0042
    snapshot_id: "{{ claimed.snapshot_id }}"
    image: {sha256: "{{ made.image.sha256 }}"}
"""

RETURN = r"""
snapshot_id:
  description: The snapshot that was taken, empty where none is left to take.
  returned: O(state=taken)
  type: str
claims:
  description: The claims as they are, in the order of O(snapshot_ids).
  returned: O(state=taken) where none is left to take, O(state=read)
  type: list
  elements: dict
claim:
  description: The claim as it is now.
  returned: O(state=done), O(state=failed)
  type: dict
holder:
  description: Who holds it.
  returned: O(state=taken)
  type: str
told:
  description: The summary of O(request_id) was sent already.
  returned: O(state=read), O(state=told)
  type: bool
"""

import json
import time
from typing import Any

from ansible_collections.dfir.aws.plugins.module_utils import image_claim
from ansible_collections.dfir.aws.plugins.module_utils.aws_module import AwsModule
from ansible_collections.dfir.aws.plugins.module_utils.ebs_module import bucket_client
from ansible_collections.dfir.aws.plugins.module_utils.ebs_work import WORKER_SPEC
from ansible_collections.dfir.aws.plugins.module_utils.guard import Guard

LONGEST_PAUSE = 10.0


def take(module: Any, shelf: image_claim.Shelf, guard: Guard) -> dict[str, Any]:
    """Take a snapshot, and wait for one as long as others hold some."""
    given = module.params
    incident, ids, holder, lease = (given[name] for name in ("incident", "snapshot_ids", "holder", "lease_seconds"))
    if module.check_mode:
        claims = [shelf.read(incident, snapshot).content for snapshot in ids]
        return {"changed": any(claim["state"] != image_claim.DONE for claim in claims), "snapshot_id": "",
                "claims": claims, "holder": holder}
    while True:
        claim, claims = image_claim.take_next(shelf, incident, ids, holder, lease)
        if claim:
            return {"changed": True, "snapshot_id": claim["snapshot_id"], "holder": holder}
        held = image_claim.others_hold(claims, holder)
        if not held or not given["wait"]:
            return {"changed": False, "snapshot_id": "", "claims": claims, "holder": holder}
        guard.tell(f"waiting for {len(held)} that others image: {', '.join(held[:3])}{' ...' if held[3:] else ''}")
        until = time.monotonic() + min(LONGEST_PAUSE, lease / 3)
        while time.monotonic() < until:
            if guard.stop():
                module.fail_json(msg=f"The wait was ended: {guard.reason}.", cancelled=True)
            time.sleep(0.5)


def read(module: Any, shelf: image_claim.Shelf) -> dict[str, Any]:
    """All claims, and whether they were told of."""
    given = module.params
    claims = [shelf.read(given["incident"], snapshot).content for snapshot in given["snapshot_ids"]]
    told = bool(given["request_id"]) and shelf.is_told(given["incident"], given["request_id"])
    return {"changed": False, "claims": claims, "told": told}


def main() -> None:
    """Entry point."""
    module = AwsModule(supports_check_mode=True, argument_spec={
        "state": {"type": "str", "required": True, "choices": ["taken", "done", "failed", "read", "told"]},
        "bucket": {"type": "str", "required": True},
        "incident": {"type": "str", "required": True},
        "snapshot_ids": {"type": "list", "elements": "str", "default": []},
        "snapshot_id": {"type": "str"},
        "request_id": {"type": "str", "default": ""},
        "lease_seconds": {"type": "int", "default": 300},
        "image": {"type": "dict", "default": {}},
        "reason": {"type": "str", "default": ""},
        "holder": {"type": "str"},
        "wait": {"type": "bool", "default": True},
        **WORKER_SPEC,
    }, required_if=[
        ("state", "taken", ["holder"]), ("state", "done", ["holder", "snapshot_id"]),
        ("state", "failed", ["holder", "snapshot_id"]),
    ])
    given = module.params
    if given["lease_seconds"] < 5:
        module.fail_json(msg="lease_seconds must be at least 5: a claim is written three times within it.")
    if given["state"] == "done" and not given["image"]:
        module.fail_json(msg="What was imaged must be said in image: a claim is not done without it.")
    guard = Guard(given["lease_file"], given["progress_file"])
    shelf = image_claim.Shelf(bucket_client(module), given["bucket"])
    result: dict[str, Any]
    try:
        if given["state"] == "taken":
            result = take(module, shelf, guard)
        elif given["state"] == "read":
            result = read(module, shelf)
        elif module.check_mode:
            result = {"changed": True}
        elif given["state"] == "told":
            result = {"changed": shelf.tell(given["incident"], given["request_id"]), "told": True}
        else:
            image = json.loads(json.dumps(given["image"])) if given["state"] == "done" else None
            failure = "" if image else given["reason"] or "no reason was given"
            claim, changed = image_claim.end(shelf, given["incident"], given["snapshot_id"], given["holder"],
                                             image=image, failure=failure)
            result = {"changed": changed, "claim": claim}
    except image_claim.ClaimError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
