#!/usr/bin/python
# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: request_record
short_description: Keep the record of an analysis request
version_added: 0.1.0
author:
  - The dfir.aws authors (@dfir-aws)
description:
  - Reads and changes the object C(requests/<request_id>.json) in the artifact bucket. It is lock, replay guard and the
    memory of a request.
  - It is created with C(If-None-Match) and changed by compare-and-swap with C(If-Match), so two runs never overwrite
    each other.
  - A request whose snapshot is another request's already (an automatic analysis before a session or beside it, for
    instance) gets a folder of its own, C(run-<request_id>/) below the common one. The object
    C(requests/folders/<incident>/<snapshot>.json), written once, tells whose the common one is.
  - Where O(custody_key) is given when it is opened, whatever the record says of runs and steps is written into the
    custody ledger of its incident, too, with the same call, by this and by all later tasks. The record remembers how.
    The record comes first; what the ledger lacks is written with the next call.
options:
  state:
    description:
      - V(opened) creates the record, or adopts the one that is there, and takes its lease. It fails while another
        holder's lease runs. A finished request is returned as it is, with RV(finished) true.
      - V(step) notes that a step ended, and renews the lease.
      - V(renewed) renews the lease when less than half of it is left.
      - V(released) gives the lease back; the request stays open.
      - V(finished) ends the request for good with O(outcome).
      - V(read) only reads.
    type: str
    choices: [opened, step, renewed, released, finished, read]
    required: true
  bucket:
    description: The artifact bucket.
    type: str
    required: true
  request_id:
    description: The request's id, 16 hexadecimal digits.
    type: str
    required: true
  spec:
    description: The request as M(dfir.aws.analysis_request) returned it. Needed for O(state=opened).
    type: dict
  lease_minutes:
    description: For how long this run may be silent before another one may go on in its place.
    type: int
    default: 60
  force:
    description: Take a lease that still runs. For an operator who knows that its holder is dead.
    type: bool
    default: false
  step:
    description: The name of the step that ended. Needed for O(state=step), unless O(steps) names several.
    type: str
  steps:
    description:
      - Several steps at once, in their order, for O(state=step); or the last steps, for O(state=finished) and
        O(state=released), which note them in the same write. Each has C(name) and may have C(outcome), C(details),
        C(started_at) and C(ended_at).
    type: list
    elements: dict
    default: []
  started_at:
    description: When the step started, in UTC, as C(2026-01-31T12:00:00Z).
    type: str
    default: ""
  outcome:
    description:
      - How it ended. For O(state=step) V(ok) or V(failed), where V(ok) is the default. For O(state=finished) one of
        V(complete), V(incomplete), V(timeout), V(ended) and V(failed).
    type: str
    choices: [ok, failed, complete, incomplete, timeout, ended]
  details:
    description: Ids and numbers that the step leaves behind. No secrets.
    type: dict
    default: {}
  custody_key:
    description:
      - The key of KMS (id, ARN or alias) that signs custody ledgers, for O(state=opened). Empty, no ledger is kept of
        this request.
      - A request of an incident whose case is closed is refused, and nothing is written.
    type: str
    default: ""
  custody_retain_days:
    description: Days for which entries are locked where the bucket has Object Lock; for O(state=opened).
    type: int
    default: 0
  custody_lock_mode:
    description: How they are locked; for O(state=opened).
    type: str
    choices: [GOVERNANCE, COMPLIANCE]
    default: GOVERNANCE
  known_entries:
    description:
      - A folder for entries of ledgers that were read, so that the next task need not read them again. The action sets
        it to a folder of this run.
    type: path
  sign:
    description:
      - Sign the head of the custody ledger. The ends of a run (O(state=released), O(state=finished)) sign it always.
    type: bool
    default: false
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
  - dfir.aws.aws.attributes
  - dfir.aws.aws.holder
attributes:
  check_mode:
    support: full
    details:
      - The record is about runs, and a check is none. Nothing is written and nothing counts as changed; RV(record) is
        what it would be.
  diff_mode:
    support: none
  idempotent:
    support: full
notes:
  - "Needed: C(s3:GetObject) and C(s3:PutObject) on C(requests/*), and C(s3:ListBucket) on the bucket, without which a
    record that is not there looks like a refusal. With O(custody_key): C(s3:GetObject) and C(s3:PutObject) on
    C(custody/*), C(kms:GetPublicKey) and C(kms:Sign) on the key."
seealso:
  - module: dfir.aws.custody_record
"""

EXAMPLES = r"""
- name: Open the record
  dfir.aws.request_record:
    state: opened
    bucket: "{{ request_spec.artifact_bucket }}"
    request_id: "{{ request_spec.request_id }}"
    spec: "{{ request_spec }}"
    holder: "{{ request_admitted.holder }}"

- name: Note that the snapshot is ready
  dfir.aws.request_record:
    state: step
    step: snapshot
    details: {snapshot_id: snap-0123456789abcdef0}
    bucket: "{{ request_result.artifact_bucket }}"
    request_id: "{{ request_result.request_id }}"
    holder: "{{ request_result.holder }}"

- name: End it
  dfir.aws.request_record:
    state: finished
    outcome: complete
    bucket: "{{ request_result.artifact_bucket }}"
    request_id: "{{ request_result.request_id }}"
    holder: "{{ request_result.holder }}"
"""

RETURN = r"""
record:
  description: The record as it is now (in check mode, as it would be). Empty where there is none.
  returned: success
  type: dict
adopted:
  description: The record was there already.
  returned: success
  type: bool
finished:
  description: The request has ended.
  returned: success
  type: bool
outcome:
  description: How it ended, where it has.
  returned: success
  type: str
custody:
  description:
    - How the custody ledger stands - C(kept), C(head), C(signed), C(problem), C(closed) and C(line), which says it to
      people.
    - A ledger that cannot be written is no failure of this task. C(problem) of RV(custody) says why, and whoever ends
      the request fails for it.
  returned: success
  type: dict
key:
  description: The record's key in the bucket.
  returned: always
  type: str
  sample: requests/3f0c6a5d9b1e2f47.json
"""

import random
import re
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Any

from ansible_collections.dfir.aws.plugins.module_utils.aws_module import AwsModule

from ..module_utils import record as records
from ..module_utils.custody.errors import Closed
from ..module_utils.custody_keep import KEEP, keep, refuse_closed, settings
from ..module_utils.record_shelf import Shelf
from ..module_utils.request_spec import RECORDS, apart

ATTEMPTS = 8  # rounds of compare-and-swap; each loses only to somebody who won


def next_record(params: Mapping[str, Any], record: dict[str, Any] | None, now: datetime) -> records.Change:
    """What the record shall be, given what it is."""
    state, holder, minutes = params["state"], params["holder"], params["lease_minutes"]
    if state == "opened":
        return records.kept(
            records.opened(record, params["spec"], holder, now, minutes, force=params["force"], gone=records.is_gone),
            params["custody"])
    if record is None:
        raise records.RecordError(f"Request {params['request_id']} has no record: open it first (state: opened).")
    if state == "renewed":
        return records.renewed(record, holder, now, minutes, gone=records.is_gone)
    told = params["steps"]
    if state == "step" and not told:
        told = [{"name": params["step"], "outcome": params["outcome"], "details": params["details"],
                 "started_at": params["started_at"]}]
    change = records.Change(record, False, adopted=True)
    for step in told:
        following = records.stepped(
            change.record, holder, now, minutes, name=step["name"], outcome=step.get("outcome") or "ok",
            details=step.get("details") or {}, started_at=step.get("started_at") or "",
            ended_at=step.get("ended_at") or "", gone=records.is_gone)
        change = following._replace(changed=change.changed or following.changed)
    if state == "step":
        return change
    ended = (records.released(change.record, holder, now) if state == "released" else
             records.finished(change.record, holder, now, params["outcome"], gone=records.is_gone))
    return ended._replace(changed=change.changed or ended.changed)


def swap(shelf: Shelf, change: Callable[[dict[str, Any] | None], records.Change], *, creates: bool,
         check_mode: bool) -> records.Change:
    """Read, change, write; again when somebody else wrote in between."""
    for attempt in range(ATTEMPTS):
        record, etag = shelf.read()
        if record is None and check_mode and not creates:
            return records.Change({}, True)  # an earlier step would have made it
        result = change(record)
        if check_mode or not result.changed or shelf.write(result.record, etag):
            return result
        time.sleep(random.uniform(0, 0.05 * 2**attempt))  # noqa: S311  it spreads runs that race, and guards nothing
    raise records.RecordError("The record is being changed all the time by other runs: start again later.")


def main() -> None:
    """Entry point of the module."""
    module = AwsModule(
        argument_spec={
            "state": {
                "type": "str", "required": True,
                "choices": ["opened", "step", "renewed", "released", "finished", "read"],
            },
            "bucket": {"type": "str", "required": True},
            "request_id": {"type": "str", "required": True},
            "spec": {"type": "dict"},
            "holder": {"type": "str"},
            "lease_minutes": {"type": "int", "default": 60},
            "force": {"type": "bool", "default": False},
            "step": {"type": "str"},
            "steps": {"type": "list", "elements": "dict", "default": []},
            "started_at": {"type": "str", "default": ""},
            "outcome": {"type": "str", "choices": ["ok", "failed", "complete", "incomplete", "timeout", "ended"]},
            "details": {"type": "dict", "default": {}},
            "known_entries": {"type": "path"},
            "sign": {"type": "bool", "default": False},
            **KEEP,
        },
        required_if=[
            ("state", "opened", ["spec", "holder"]),
            ("state", "step", ["holder"]),
            ("state", "step", ["step", "steps"], True),
            ("state", "renewed", ["holder"]),
            ("state", "released", ["holder"]),
            ("state", "finished", ["outcome", "holder"]),
        ],
        supports_check_mode=True,
    )
    params = module.params
    if not re.fullmatch(r"[0-9a-f]{16}", params["request_id"]):
        module.fail_json(msg="request_id must be 16 lower-case hexadecimal digits.")
    if not all(isinstance(step.get("name"), str) for step in params["steps"]):
        module.fail_json(msg="Each of steps needs a name.")
    if params["lease_minutes"] < 1:
        module.fail_json(msg="lease_minutes must be at least 1.")
    allowed = {"step": ("ok", "failed", None), "finished": records.OUTCOMES}.get(params["state"])
    if allowed and params["outcome"] not in allowed:
        module.fail_json(msg=f"outcome must be one of {', '.join(name for name in allowed if name)} for state "
                             f"{params['state']}.")
    opens = params["state"] == "opened"
    params["custody"] = settings(module) if opens else {}
    key = f"{RECORDS}{params['request_id']}.json"
    shelf = Shelf(module, params["bucket"], key)
    try:
        if params["state"] == "read":
            record, _etag = shelf.read()
            change = records.Change(record or {}, False, adopted=record is not None)
        else:
            prefix = (params["spec"] or {}).get("artifact_prefix")
            before = shelf.read()[0] if opens else {}
            if params["custody"] and not (isinstance(before, dict) and before.get("state") == "finished"):
                refuse_closed(module, params["spec"])
            if prefix and before is None and (
                    shelf.is_taken(prefix) or not (module.check_mode or shelf.claim(prefix, params["request_id"]))):
                # Nothing is overwritten, the completion marker neither: whoever comes second works beside it.
                params["spec"] = apart(params["spec"])
            change = swap(shelf, lambda record: next_record(params, record, datetime.now(timezone.utc)),
                          creates=params["state"] == "opened", check_mode=module.check_mode)
    except (records.RecordError, Closed) as error:
        module.fail_json(msg=str(error), key=key)
    custody = keep(module, change.record, write=params["state"] not in ("read", "renewed"),
                   sign=params["sign"] or params["state"] in ("released", "finished"))
    module.exit_json(
        changed=change.changed and not module.check_mode, record=change.record, custody=custody, adopted=change.adopted,
        key=key, finished=change.record.get("state") == "finished", outcome=change.record.get("outcome"),
    )


if __name__ == "__main__":
    main()
