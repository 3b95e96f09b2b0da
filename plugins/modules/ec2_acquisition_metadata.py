#!/usr/bin/python
# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ec2_acquisition_metadata
short_description: Keep what AWS knows of instances
version_added: 0.1.0
author:
  - The dfir.aws authors (@dfir-aws)
description:
  - Asks AWS about instances and everything they refer to, and keeps the answers as JSON in the artifact bucket, below
    C(<incident>/<instance>/metadata/), each once, with an index of all hashes. Nothing is changed at the instances.
  - What cannot be had is recorded with its error and ends nothing. What an earlier run has kept is left as it is.
  - Several instances are asked about side by side; one that fails has a C(problem).
options:
  request:
    description: The acquisition, as M(dfir.aws.operator_request) let it in.
    type: dict
    required: true
  instances:
    description: The instances, as M(dfir.aws.ec2_acquisition_info) returns them.
    type: list
    elements: dict
    required: true
  bucket:
    description: The artifact bucket.
    type: str
    required: true
  bucket_region:
    description: Its region.
    type: str
    required: true
  trail_regions:
    description: Regions in which calls of the instances' roles are looked up. Empty, all that the account has enabled.
    type: list
    elements: str
    default: []
  side_by_side:
    description: How many instances are asked about at the same time.
    type: int
    default: 8
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
  - dfir.aws.aws.attributes
  - dfir.aws.aws.access
attributes:
  check_mode:
    support: none
  diff_mode:
    support: none
  idempotent:
    support: full
notes:
  - The user data and the policies of an instance may hold secrets. They are in the bucket and nowhere else.
  - "Needed: what C(docs/iam/acquisition-policy.json) allows."
"""

EXAMPLES = r"""
- name: Keep what AWS knows
  dfir.aws.ec2_acquisition_metadata:
    request: "{{ acquire_instance_asked.request_spec }}"
    instances: "{{ found.instances }}"
    bucket: dfir-artifacts-123456789012
    bucket_region: eu-west-1
    region: eu-west-1
"""

RETURN = r"""
instances:
  description: One entry an instance - C(prefix), C(files) with SHA-256, C(not_had), C(facts), C(problem).
  returned: success
  type: list
  elements: dict
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ansible_collections.dfir.aws.plugins.module_utils.aws_module import AwsModule

from ..module_utils.acquisition import keep, members, plan
from ..module_utils.acquisition.trail import Pace
from ..module_utils.assumed_role import ACCESS, CannotEnter
from ..module_utils.forensics.s3_put import UploadError

try:
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError:  # AnsibleAWSModule says so in a sentence
    BotoCoreError = ClientError = Exception


def main() -> None:
    """Entry point."""
    module = AwsModule(argument_spec={
        "request": {"type": "dict", "required": True},
        "instances": {"type": "list", "elements": "dict", "required": True},
        "bucket": {"type": "str", "required": True},
        "bucket_region": {"type": "str", "required": True},
        "trail_regions": {"type": "list", "elements": "str", "default": []},
        "side_by_side": {"type": "int", "default": 8},
        "access": ACCESS,
    })
    params, request = module.params, module.params["request"]
    wanted = {str(item["instance_id"]): item for item in params["instances"]}
    of = {name: members.account_of(item, request) for name, item in wanted.items()}
    accounts = members.Accounts(module)
    described: dict[str, Any] = {}
    closed: dict[str, str] = {}
    # The bucket is this run's own account's, whoever's the instances are.
    s3 = module.client("s3", region=params["bucket_region"])
    for account in sorted(set(of.values())):
        names = [name for name in wanted if of[name] == account]
        try:
            described |= {str(item["InstanceId"]): item
                          for item in plan.found(accounts.clients(account)("ec2"), names, {})}
        except (CannotEnter, ClientError, BotoCoreError) as error:
            if account == request["account"]:
                module.fail_json_aws(error, msg="Cannot look at the instances")
            closed[account] = str(error)
    paces = {account: Pace() for account in of.values()}  # CloudTrail counts by account

    def collect(name: str) -> dict[str, Any]:
        account = of[name]
        options = {**request, "account": account, "acquisition": wanted[name]["acquisition"],
                   "bucket": params["bucket"], "days": request["cloudtrail_days"], "regions": params["trail_regions"]}
        try:
            if account in closed:
                raise CannotEnter(closed[account])
            if name not in described:
                raise UploadError("gone", f"instance {name} is not there any more")
            return keep.collect(accounts.clients(account), s3, described[name], options, paces[account])
        except Exception as error:  # whatever it is, it must not end the others
            return {"instance_id": name, "changed": False, "prefix": "", "files": [], "not_had": [], "facts": [],
                    "finished": "", "problem": f"The metadata of {name} could not be kept, so that nothing else was "
                                               f"done: {error}."}

    with ThreadPoolExecutor(max(1, params["side_by_side"])) as pool:
        told = list(pool.map(collect, wanted))
    module.exit_json(changed=any(item["changed"] for item in told), instances=told)


if __name__ == "__main__":
    main()
