#!/usr/bin/python
# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The records of requests in the artifact bucket."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: request_records_info
version_added: 0.1.0
short_description: List the records of analysis requests
description:
  - Reads the objects below C(requests/) in the artifact bucket, as M(dfir.aws.request_record) writes them.
  - On the controller, it also refuses a run that brings along, as an extra variable, a name of the project's own.
options:
  bucket:
    description: The artifact bucket.
    type: str
    required: true
  state:
    description: Which records - those of V(open) requests, of V(finished) ones, or V(all).
    type: str
    choices: [open, finished, all]
    default: open
  request_ids:
    description: Only the records of these requests, read one by one. By default all that O(within_days) covers.
    type: list
    elements: str
  incident:
    description: Only records of requests of this incident.
    type: str
  within_days:
    description:
      - Only records that were changed within so many days. A request lives for three days at most, so older ones are
        read in vain.
    type: float
    default: 30
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
  - dfir.aws.aws.read_only
author:
  - The dfir.aws authors (@dfir-aws)
notes:
  - "Needed: C(s3:ListBucket) on the bucket and C(s3:GetObject) on C(requests/*)."
seealso:
  - module: dfir.aws.request_record
"""

EXAMPLES = r"""
- name: Find the requests that are open
  dfir.aws.request_records_info:
    bucket: dfir-artifacts-123456789012
    region: eu-west-1
  register: open_requests
"""

RETURN = r"""
records:
  description: The records, oldest first.
  returned: always
  type: list
  elements: dict
unreadable:
  description: Keys below C(requests/) that hold no record of this project.
  returned: always
  type: list
  elements: str
absent:
  description: Those of O(request_ids) that have no record.
  returned: always
  type: list
  elements: str
holder:
  description: Who would hold a request's lease in this run, for O(dfir.aws.request_record#module:holder).
  returned: always
  type: str
"""

import re
from datetime import datetime, timedelta, timezone
from typing import Any

from ansible_collections.dfir.aws.plugins.module_utils.aws_module import AwsModule

from ..module_utils.record_store import ABSENT, read, recent
from ..module_utils.request_spec import RECORDS

try:
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError:  # AnsibleAWSModule says so in a sentence
    BotoCoreError = ClientError = Exception


def chosen(s3: Any, bucket: str, request_ids: list[str]) -> tuple[dict[str, Any], list[str]]:
    """The records of these requests by key, and the requests that have none."""
    found, absent = {}, []
    for request_id in dict.fromkeys(request_ids):
        key = f"{RECORDS}{request_id}.json"
        try:
            found[key] = read(s3, bucket, key)
        except ClientError as error:
            if error.response["Error"]["Code"] not in ABSENT:
                raise
            absent.append(request_id)
    return found, absent


def main() -> None:
    """Entry point."""
    module = AwsModule(supports_check_mode=True, argument_spec={
        "bucket": {"type": "str", "required": True},
        "state": {"type": "str", "choices": ["open", "finished", "all"], "default": "open"},
        "request_ids": {"type": "list", "elements": "str"},
        "incident": {"type": "str"},
        "within_days": {"type": "float", "default": 30},
    })
    bucket, state, request_ids = module.params["bucket"], module.params["state"], module.params["request_ids"]
    if not all(re.fullmatch(r"[0-9a-f]{16}", request_id) for request_id in request_ids or []):
        module.fail_json(msg="Each of request_ids must be 16 lower-case hexadecimal digits.")
    since = datetime.now(timezone.utc) - timedelta(days=module.params["within_days"])
    s3 = module.client("s3")
    absent: list[str] = []
    try:
        if request_ids is None:
            found = {key: read(s3, bucket, key) for key in recent(s3, bucket, since)}
        else:
            found, absent = chosen(s3, bucket, request_ids)
    except (ClientError, BotoCoreError) as error:
        module.fail_json_aws(error, msg=f"Cannot list the records in s3://{bucket}/{RECORDS}")
    records = [record for record in found.values() if record and state in ("all", record["state"])
               and module.params["incident"] in (None, record["request"].get("incident"))]
    module.exit_json(changed=False, records=sorted(records, key=lambda record: record["created_at"]), absent=absent,
                     unreadable=sorted(key for key, record in found.items() if record is None))


if __name__ == "__main__":
    main()
