#!/usr/bin/python
# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which copies of snapshots are outside their retention period."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: ec2_expiring_snapshots_info
version_added: 0.1.0
short_description: Find copies of snapshots that are outside their retention period
description:
  - Looks at all snapshots of the account that carry the tag C(dfir:source-snapshot), in all given regions, a page at a
    time, and at the records of all requests.
  - A copy is to go only where its tags and the records agree. Its C(dfir:expires) is past, all requests that used it
    are finished, and the periods of the classes of all their incidents are over.
  - What an image uses, what is locked, shared, under legal hold, in the hands of AWS Backup, in the Recycle Bin, in use
    by an open request or the last copy of an open case is told with the reason, and so is what is not surely a copy of
    ours.
  - The classes are checked before anything is asked.
options:
  bucket:
    description: The artifact bucket, which holds the records. O(region) is its region.
    type: str
    required: true
  regions:
    description: Where to look.
    type: list
    elements: str
    required: true
  classes:
    description:
      - Classes of incidents, as in C(roles/retention/defaults/main.yml). An incident has the first one that covers its
        name.
    type: raw
    required: true
  prices:
    description: Tables of prices, as in C(roles/retention/defaults/main.yml).
    type: raw
    default: []
  bin_days:
    description: For how many days a Recycle Bin rule is proposed to keep what was deleted.
    type: int
    default: 14
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
  - dfir.aws.aws.read_only
author:
  - The dfir.aws authors (@dfir-aws)
notes:
  - "Needed: C(s3:ListBucket) and C(s3:GetObject) for the records, C(ec2:DescribeSnapshots), C(ec2:DescribeImages),
    C(ec2:DescribeLockedSnapshots), C(ec2:DescribeSnapshotAttribute). C(rbin:ListRules) and C(rbin:GetRule) are asked,
    and RV(recycle_bin) says so where they may not be."
seealso:
  - module: dfir.aws.ec2_expired_snapshot
"""

EXAMPLES = r"""
- name: Find what is outside its period
  dfir.aws.ec2_expiring_snapshots_info:
    bucket: dfir-artifacts-123456789012
    region: eu-west-1
    regions: [eu-west-1, us-east-1]
    classes:
      - {name: training, incidents: ["TRAINING-*"], keep_days: 7}
      - {name: all, incidents: ["*"], keep_days: 90, keep_last: 1}
  register: expiring
"""

RETURN = r"""
expiring:
  description:
    - Copies that are to go, oldest first, each with its C(tags), C(requests), C(incidents), C(classes) and size.
  returned: always
  type: list
  elements: dict
kept:
  description: Copies whose period is over and that stay, each with a C(code) and a C(reason).
  returned: always
  type: list
  elements: dict
foreign:
  description: What carries the tag and is not surely a copy of ours, each with its C(reason).
  returned: always
  type: list
  elements: dict
within:
  description: How many are within their period, by region, class and what keeps them.
  returned: always
  type: list
  elements: dict
gib:
  description: GiB of those that are to go. Where AWS does not say how much is written, the whole volume counts.
  returned: always
  type: float
saving:
  description: What their storage costs a month, C(usd_at_most), and where the prices come from.
  returned: always
  type: dict
recycle_bin:
  description:
    - Of each region where copies are to go, whether a Recycle Bin rule takes them in (C(covered), C(missing),
      C(not checkable)), and the command that makes one.
  returned: always
  type: list
  elements: dict
incidents:
  description: The incidents of all records, each with its C(class) and whether a request is C(open).
  returned: always
  type: list
  elements: dict
unseen:
  description: Regions that could not be looked at, C(place) and C(reason).
  returned: always
  type: list
  elements: dict
unreadable:
  description: Keys below C(requests/) that hold no record. While there is one, nothing goes.
  returned: always
  type: list
  elements: str
looked:
  description: Regions that were looked at.
  returned: always
  type: list
  elements: str
looked_at:
  description: When the look began, in UTC.
  returned: always
  type: str
"""

from datetime import datetime, timezone
from typing import Any

from ansible_collections.dfir.aws.plugins.module_utils.aws_module import AwsModule

from ..module_utils import retention_find
from ..module_utils.prices import PriceError, checked
from ..module_utils.request_spec import RECORDS, iso
from ..module_utils.retention import Judge, why_held
from ..module_utils.retention_policy import PolicyError, of_incident
from ..module_utils.retention_policy import checked as checked_policies

try:
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError:  # AnsibleAWSModule says so in a sentence
    BotoCoreError = ClientError = Exception


def look(module: AwsModule, judge: Judge) -> list[dict[str, str]]:
    """Take in the copies of all regions; the regions that could not be looked at."""
    unseen = []
    for region in dict.fromkeys(module.params["regions"]):
        try:
            for described in retention_find.copies(module.client("ec2", region=region)):
                judge.look(described, region)
        except (ClientError, BotoCoreError) as error:
            judge.forget(region)
            unseen.append({"place": region, "reason": " ".join(str(error).split())})
    return unseen


def settle(module: AwsModule, judge: Judge, unseen: list[dict[str, str]]) -> list[dict[str, Any]]:
    """Of those that are due, the rows of those that nothing at AWS holds."""
    due, rows = judge.due(), []
    for region in dict.fromkeys(copy.region for copy in due):
        here = [copy for copy in due if copy.region == region]
        try:
            facts = retention_find.facts(module.client("ec2", region=region), [copy.id for copy in here])
        except (ClientError, BotoCoreError) as error:
            unseen.append({"place": region, "reason": " ".join(str(error).split())})
            continue
        for copy in here:
            code, reason = why_held(copy.id, facts)
            if code:
                judge.kept.append(judge.row(copy, code, reason))
            else:
                rows.append(judge.row(copy, "expired", "its time and the period of its class are over", tags=True))
    return sorted(rows, key=lambda row: (row["started"], row["id"]))


def bins(module: AwsModule, rows: list[dict[str, Any]]) -> list[dict[str, str]]:
    """Whether a Recycle Bin takes in what goes, by region."""
    found = []
    for region in sorted({row["region"] for row in rows}):
        sources = {row["source_region"] for row in rows if row["region"] == region}
        found.append(retention_find.recycle_bin(module.client("rbin", region=region), region, sources,
                                                module.params["bin_days"]))
    return found


def main() -> None:
    """Entry point."""
    module = AwsModule(supports_check_mode=True, argument_spec={
        "bucket": {"type": "str", "required": True},
        "regions": {"type": "list", "elements": "str", "required": True},
        "classes": {"type": "raw", "required": True},
        "prices": {"type": "raw", "default": []},
        "bin_days": {"type": "int", "default": 14},
    })
    now = datetime.now(timezone.utc)
    try:
        policies = checked_policies(module.params["classes"])
        tables = checked(module.params["prices"])
    except (PolicyError, PriceError) as error:
        module.fail_json(msg=str(error))
    if not 1 <= module.params["bin_days"] <= 365:
        module.fail_json(msg="bin_days must be 1 to 365: the Recycle Bin keeps snapshots for a year at most.")
    bucket = module.params["bucket"]
    try:
        cases = retention_find.cases(module.client("s3"), bucket)
    except (ClientError, BotoCoreError) as error:
        module.fail_json_aws(error, msg=f"Cannot read the records in s3://{bucket}/{RECORDS}")
    judge = Judge(policies, cases, now)
    unseen = look(module, judge)
    rows = settle(module, judge, unseen)
    blind = {item["place"] for item in unseen}
    classes = {name: of_incident(policies, name) for name in sorted(cases.open_incidents | cases.closed_incidents)}
    module.exit_json(
        changed=False, expiring=rows, kept=judge.kept, foreign=judge.foreign,
        within=[{"region": region, "class": name, "code": code, "number": number}
                for (region, name, code), number in sorted(judge.within.items())],
        gib=round(sum(row["gib"] for row in rows), 3), saving=retention_find.savings(rows, tables),
        recycle_bin=bins(module, rows), unseen=unseen, unreadable=sorted(cases.unreadable),
        incidents=[{"incident": name, "class": policy.name if policy else "", "open": name in cases.open_incidents}
                   for name, policy in classes.items()],
        looked=[region for region in module.params["regions"] if region not in blind], looked_at=iso(now))


if __name__ == "__main__":
    main()
