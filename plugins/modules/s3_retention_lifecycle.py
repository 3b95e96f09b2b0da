#!/usr/bin/python
# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lifecycle rules for the objects of closed cases."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: s3_retention_lifecycle
version_added: 0.1.0
short_description: Let S3 archive and remove the objects of closed cases
description:
  - Makes a lifecycle rule for each incident whose requests are all finished and whose class has C(artifacts), says
    which rules the bucket lacks, and sets them only with O(apply).
  - Rules whose id does not begin with C(dfir-retention-) are somebody else's, and stay as they are.
  - A rule of an incident that is open again, held, or in no class that has C(artifacts), is surplus.
options:
  bucket:
    description: The artifact bucket.
    type: str
    required: true
  classes:
    description: Classes of incidents, as M(dfir.aws.ec2_expiring_snapshots_info) takes them.
    type: raw
    required: true
  incidents:
    description: The incidents, RV(dfir.aws.ec2_expiring_snapshots_info#module:incidents).
    type: list
    elements: dict
    required: true
  noncurrent_days:
    description: For how many days an object that expired can still be had as an older version.
    type: int
    default: 30
  apply:
    description: Set the rules. Otherwise only say what they lack.
    type: bool
    default: false
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
  - dfir.aws.aws.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
author:
  - The dfir.aws authors (@dfir-aws)
notes:
  - "Needed: C(s3:GetLifecycleConfiguration), and C(s3:PutLifecycleConfiguration) with O(apply)."
  - S3 gives no way to change a set of rules only if nobody else did meanwhile. It is read right before it is written.
"""

EXAMPLES = r"""
- name: Say which rules the bucket lacks
  dfir.aws.s3_retention_lifecycle:
    bucket: dfir-artifacts-123456789012
    region: eu-west-1
    classes: "{{ dfir_aws_retention_classes }}"
    incidents: "{{ expiring.incidents }}"
"""

RETURN = r"""
missing:
  description: Incidents whose rule is not there.
  returned: always
  type: list
  elements: str
differing:
  description: Incidents whose rule is another one.
  returned: always
  type: list
  elements: str
surplus:
  description: Incidents that have a rule and should have none.
  returned: always
  type: list
  elements: str
rules:
  description: All rules as they should be, those of others included.
  returned: always
  type: list
  elements: dict
"""

from datetime import datetime, timezone
from typing import Any

from ansible_collections.dfir.aws.plugins.module_utils.aws_module import AwsModule

from ..module_utils.retention_lifecycle import LifecycleError, compare, wanted
from ..module_utils.retention_policy import PolicyError, checked
from ..module_utils.waits import code_of

try:
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError:  # AnsibleAWSModule says so in a sentence
    BotoCoreError = ClientError = Exception

SIZE = "TransitionDefaultMinimumObjectSize"


def configuration(s3: Any, bucket: str) -> dict[str, Any]:
    """The bucket's rules as they are."""
    try:
        return dict(s3.get_bucket_lifecycle_configuration(Bucket=bucket))
    except ClientError as error:
        if code_of(error) != "NoSuchLifecycleConfiguration":
            raise
        return {"Rules": []}


def write(s3: Any, bucket: str, rules: list[dict[str, Any]], before: dict[str, Any]) -> None:
    """Set the rules. What else the configuration says stays."""
    if not rules:
        s3.delete_bucket_lifecycle(Bucket=bucket)
        return
    kept = {SIZE: before[SIZE]} if before.get(SIZE) else {}
    s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": rules}, **kept)


def main() -> None:
    """Entry point."""
    module = AwsModule(supports_check_mode=True, argument_spec={
        "bucket": {"type": "str", "required": True},
        "classes": {"type": "raw", "required": True},
        "incidents": {"type": "list", "elements": "dict", "required": True},
        "noncurrent_days": {"type": "int", "default": 30},
        "apply": {"type": "bool", "default": False},
    })
    bucket, s3 = module.params["bucket"], module.client("s3")
    if module.params["noncurrent_days"] < 1:
        module.fail_json(msg="noncurrent_days must be 1 at least: S3 keeps older versions for a day or longer.")
    try:
        rules = wanted(checked(module.params["classes"]), module.params["incidents"], datetime.now(timezone.utc),
                       module.params["noncurrent_days"])
        before = configuration(s3, bucket)
        difference = compare(before["Rules"], rules)
        differs = bool(difference.missing or difference.changed or difference.surplus)
        if differs and module.params["apply"] and not module.check_mode:
            write(s3, bucket, difference.rules, before)
    except (PolicyError, LifecycleError) as error:
        module.fail_json(msg=str(error))
    except (ClientError, BotoCoreError) as error:
        module.fail_json_aws(error, msg=f"Cannot hold the lifecycle rules of the bucket {bucket} against the classes")
    module.exit_json(changed=differs and module.params["apply"], missing=difference.missing,
                     differing=difference.changed, surplus=difference.surplus, rules=difference.rules)


if __name__ == "__main__":
    main()
