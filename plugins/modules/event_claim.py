#!/usr/bin/python
# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: event_claim
short_description: Answer each event once, and not more of them a day than are wanted
version_added: 0.1.0
author:
  - The dfir.aws authors (@dfir-aws)
description:
  - Keeps the object C(requests/events/<key>.json) in the artifact bucket, which says what became of an event. It is
    created with C(If-None-Match) and changed with C(If-Match), so an event that comes again is answered once, whatever
    restarted in between.
  - Each event that is taken uses a slot of the day's budget (UTC), which is an object, too.
options:
  state:
    description:
      - V(taken) takes the event for this run, unless it was answered or another run works on it (RV(mine) is false
        then). It fails where the day's budget is used up.
      - V(ended) notes how it ended, and makes the marker where there is none. What was noted before stays.
    type: str
    choices: [taken, ended]
    required: true
  bucket:
    description: The artifact bucket.
    type: str
    required: true
  key:
    description: What stands for the event, 16 hexadecimal digits.
    type: str
    required: true
  event:
    description: The event, to be kept in the marker. Checked values only.
    type: dict
    default: {}
  budget:
    description: How many events may be taken a day.
    type: int
    default: 20
  lease_minutes:
    description: When another run may take an event whose run said nothing more.
    type: int
    default: 120
  outcome:
    description: How it ended. Needed for O(state=ended).
    type: str
    choices: [done, failed, refused]
  reason:
    description: Why it failed or was refused.
    type: str
    default: ""
  details:
    description: Ids and numbers that the answer left behind.
    type: dict
    default: {}
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
  - dfir.aws.aws.attributes
  - dfir.aws.aws.holder
attributes:
  check_mode:
    support: full
    details: Nothing is written.
  diff_mode:
    support: none
  idempotent:
    support: full
notes:
  - "Needed: C(s3:GetObject) and C(s3:PutObject) on C(requests/*), and C(s3:ListBucket) on the bucket."
"""

EXAMPLES = r"""
- name: Take an event
  dfir.aws.event_claim:
    state: taken
    bucket: dfir-artifacts-123456789012
    region: eu-west-1
    key: 3f0c6a5d9b1e2f47
    holder: awx-job-4711
  register: claimed

- name: Note that it was answered
  dfir.aws.event_claim:
    state: ended
    outcome: done
    bucket: dfir-artifacts-123456789012
    region: eu-west-1
    key: 3f0c6a5d9b1e2f47
"""

RETURN = r"""
mine:
  description: This run is to answer the event.
  returned: O(state=taken)
  type: bool
marker:
  description: The marker as it is now; in check mode, as it would be.
  returned: success
  type: dict
tell:
  description: The refusal is new, and not too many of them were told today.
  returned: O(state=ended)
  type: bool
refused:
  description: Whether the event was refused, as opposed to something being wrong on our side.
  returned: failure
  type: bool
"""

import re
from datetime import datetime, timezone

from ansible_collections.dfir.aws.plugins.module_utils import event_claim
from ansible_collections.dfir.aws.plugins.module_utils.aws_module import AwsModule


def main() -> None:
    """Entry point."""
    module = AwsModule(supports_check_mode=True, argument_spec={
        "state": {"type": "str", "required": True, "choices": ["taken", "ended"]},
        "bucket": {"type": "str", "required": True},
        "key": {"type": "str", "required": True, "no_log": False},
        "event": {"type": "dict", "default": {}},
        "holder": {"type": "str"},
        "budget": {"type": "int", "default": 20},
        "lease_minutes": {"type": "int", "default": 120},
        "outcome": {"type": "str", "choices": ["done", "failed", "refused"]},
        "reason": {"type": "str", "default": ""},
        "details": {"type": "dict", "default": {}},
    }, required_if=[("state", "taken", ["holder"]), ("state", "ended", ["outcome"])])
    given = module.params
    if not re.fullmatch(r"[0-9a-f]{16}", given["key"]):
        module.fail_json(msg="key must be 16 lower-case hexadecimal digits.")
    if given["budget"] < 0 or given["lease_minutes"] < 1:
        module.fail_json(msg="budget must be at least 0, lease_minutes at least 1.")
    shelf = event_claim.Shelf(module.client("s3"), given["bucket"])
    now, write = datetime.now(timezone.utc), not module.check_mode
    try:
        if given["state"] == "ended":
            marker, changed = event_claim.end(
                shelf, given["key"], now, outcome=given["outcome"], reason=given["reason"], details=given["details"],
                event=given["event"], write=write)
            told = changed and given["outcome"] == "refused" and (not write or event_claim.may_tell(
                shelf, given["key"], now))
            module.exit_json(changed=changed, marker=marker, tell=told)
        taken = event_claim.take(shelf, given["key"], given["event"], given["holder"], now, budget=given["budget"],
                                 lease_minutes=given["lease_minutes"], write=write)
    except event_claim.EventError as error:
        module.fail_json(msg=str(error), refused=False)
    if taken.refusal:
        module.fail_json(msg=taken.refusal, refused=True, key=given["key"], event=given["event"])
    module.exit_json(changed=taken.changed, mine=taken.mine, marker=taken.marker)


if __name__ == "__main__":
    main()
