#!/usr/bin/python
# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ec2_containment
short_description: Contain instances, or restore what containment has changed
version_added: 0.1.0
author:
  - The dfir.aws authors (@dfir-aws)
description:
  - Contains an instance in this order - its volumes outlive it, a shutdown from inside stops it, stop and termination
    protection, out of its Auto Scaling group and load balancers, the isolation group on every network interface, the
    instance profile off. Only when asked for, a network ACL cuts tracked connections, and sessions of the role are
    revoked.
  - What was before is written into a record in the artifact bucket before the first change, and each step before and
    after it is done. A run that died is gone on with by the next one.
  - O(state=released) restores what the record says, in reverse order, and lists what does not come back.
  - Nothing is ever opened, stopped or terminated.
options:
  state:
    description: V(contained) or V(released).
    type: str
    choices: [contained, released]
    default: contained
  request:
    description: What M(dfir.aws.operator_request) let in.
    type: dict
    required: true
  instance_ids:
    description: The instances, one after the other. One that fails has a C(problem) and ends no other.
    type: list
    elements: str
    required: true
  bucket:
    description: The artifact bucket.
    type: str
    required: true
  bucket_region:
    description: Its region.
    type: str
    required: true
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
notes:
  - "Needed: what C(docs/iam/containment-policy.json) allows."
"""

EXAMPLES = r"""
- name: Contain it
  dfir.aws.ec2_containment:
    request: "{{ contain_instance_asked.request_spec }}"
    instance_ids: [i-0123456789abcdef0]
    bucket: dfir-artifacts-123456789012
    bucket_region: eu-west-1
    region: eu-west-1
"""

RETURN = r"""
result:
  description:
    - C(instances), each with C(state), C(record), C(planned), C(done), C(lost), C(problem) and C(statement); C(failed),
      C(lines) for the screen, C(statements), and C(problem), a sentence when one failed.
  returned: success
  type: dict
"""

from collections.abc import Callable
from typing import Any

from ansible_collections.dfir.aws.plugins.module_utils.aws_module import AwsModule

from ..module_utils.containment import run, tell
from ..module_utils.containment.base import Hands
from ..module_utils.containment.record import Shelf

try:
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError:  # AnsibleAWSModule says so in a sentence
    BotoCoreError = ClientError = Exception


def main() -> None:
    """Entry point."""
    module = AwsModule(argument_spec={
        "state": {"type": "str", "choices": ["contained", "released"], "default": "contained"},
        "request": {"type": "dict", "required": True},
        "instance_ids": {"type": "list", "elements": "str", "required": True},
        "bucket": {"type": "str", "required": True},
        "bucket_region": {"type": "str", "required": True},
    }, supports_check_mode=True)
    params, request = module.params, module.params["request"]
    clients: dict[str, Any] = {}

    def client(service: str) -> Any:
        if service not in clients:
            clients[service] = module.client(service, region=request["region"])
        return clients[service]

    try:
        s3 = module.client("s3", region=params["bucket_region"])
    except (ClientError, BotoCoreError) as error:
        module.fail_json_aws(error, msg="Cannot speak with S3")
    release = params["state"] == "released"
    work: Callable[..., dict[str, Any]] = run.release if release else run.contain
    told = []
    for name in dict.fromkeys(params["instance_ids"]):
        hands = Hands(client, check=module.check_mode, account=request["account"])
        try:
            told.append(work(Shelf(s3, params["bucket"], name), hands, name, request))
        except Exception as error:  # whatever it is, it must not end the others
            told.append({"instance_id": name, "state": "", "changed": bool(hands.done) and not hands.check,
                         "record": {}, "planned": [], "done": [] if hands.check else hands.done, "lost": [],
                         "problem": str(error), "statement": ""})
    module.exit_json(changed=any(item["changed"] for item in told),
                     result=tell.result(told, release=release, check=module.check_mode))


if __name__ == "__main__":
    main()
