#!/usr/bin/python
# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Delete one copy of a snapshot, after a last look at its tags and at the records."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: ec2_expired_snapshot
version_added: 0.1.0
short_description: Delete one copy of a snapshot that is outside its retention period
description:
  - Deletes a copy that M(dfir.aws.ec2_expiring_snapshots_info) found.
  - Reads its tags, with whom it is shared, and the records again right before. Where one of them is not as it was told,
    or a request began that uses it, the copy is left alone, which is no failure. RV(left) says so.
  - What is not there any more is no failure and no change.
options:
  snapshot_id:
    description: The copy. O(region) is where it lies.
    type: str
    required: true
  tags:
    description: The tags that it was seen with.
    type: dict
    required: true
  request_ids:
    description: The requests that used it.
    type: list
    elements: str
    required: true
  bucket:
    description: The artifact bucket, which holds their records.
    type: str
    required: true
  bucket_region:
    description: Its region.
    type: str
    required: true
  looked_at:
    description: When it was judged, RV(dfir.aws.ec2_expiring_snapshots_info#module:looked_at).
    type: str
    required: true
  state:
    description: What it shall be.
    type: str
    choices: [absent]
    default: absent
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
  - dfir.aws.aws.attributes
attributes:
  check_mode:
    support: full
    details:
      - Looks at everything as a run would, and says whether it would be deleted.
  diff_mode:
    support: none
  idempotent:
    support: full
author:
  - The dfir.aws authors (@dfir-aws)
notes:
  - "Needed: C(ec2:DescribeSnapshots), C(ec2:DescribeSnapshotAttribute) and C(ec2:DeleteSnapshot), C(s3:ListBucket) and
    C(s3:GetObject) for the records."
seealso:
  - module: dfir.aws.ec2_expiring_snapshots_info
"""

EXAMPLES = r"""
- name: Delete what is outside its period
  dfir.aws.ec2_expired_snapshot:
    snapshot_id: "{{ item.id }}"
    region: "{{ item.region }}"
    tags: "{{ item.tags }}"
    request_ids: "{{ item.requests }}"
    bucket: dfir-artifacts-123456789012
    bucket_region: eu-west-1
    looked_at: "{{ expiring.looked_at }}"
  loop: "{{ expiring.expiring }}"
"""

RETURN = r"""
gone:
  description: It was not there any more.
  returned: success
  type: bool
left:
  description: Why it was left alone. Empty when it was deleted, or was gone.
  returned: success
  type: str
"""

from ansible_collections.dfir.aws.plugins.module_utils.aws_module import AwsModule

from ..module_utils.request_spec import parse_iso
from ..module_utils.retention_remove import Gone, Left, delete, in_words, look_again

try:
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError:  # AnsibleAWSModule says so in a sentence
    BotoCoreError = ClientError = Exception


def main() -> None:
    """Entry point."""
    module = AwsModule(supports_check_mode=True, argument_spec={
        "snapshot_id": {"type": "str", "required": True},
        "tags": {"type": "dict", "required": True},
        "request_ids": {"type": "list", "elements": "str", "required": True},
        "bucket": {"type": "str", "required": True},
        "bucket_region": {"type": "str", "required": True},
        "looked_at": {"type": "str", "required": True},
        "state": {"type": "str", "choices": ["absent"], "default": "absent"},
    })
    given = module.params
    name = given["snapshot_id"]
    try:
        looked_at = parse_iso(given["looked_at"])
    except ValueError:
        module.fail_json(msg="looked_at must be a moment in UTC, such as 2026-12-31T12:00:00Z.")
    ec2 = module.client("ec2")
    try:
        look_again(ec2, module.client("s3", region=given["bucket_region"]), given["bucket"], name, module.region,
                   tags=given["tags"], request_ids=given["request_ids"], looked_at=looked_at)
        if not module.check_mode:
            delete(ec2, name)
    except Gone:
        module.exit_json(changed=False, gone=True, left="")
    except Left as why:
        module.exit_json(changed=False, gone=False, left=str(why))
    except (ClientError, BotoCoreError) as error:
        words = in_words(error)
        module.fail_json_aws(error, msg=f"The snapshot {name} could not be deleted{f', {words}' if words else ''}")
    module.exit_json(changed=True, gone=False, left="")


if __name__ == "__main__":
    main()
