#!/usr/bin/python
# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an account needs for requests, made and removed."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: account_setup
version_added: 0.1.0
short_description: Make what an account needs for requests, or remove it
description:
  - Makes keys, the boundary of hosts' roles, the artifact bucket, roles with policies, VPC endpoints and a
    trail of EBS direct. What is there already is held against the policy files; what differs is changed.
  - What it makes carries the tag C(dfir:setup). What exists without it is refused when it differs, unless
    O(adopt) is set.
  - O(state=absent) removes what carries the tag. A bucket that holds anything stays, and so do keys unless
    O(delete_keys) is set.
  - In check mode it says the same steps and does none of them.
options:
  state:
    description: Whether it should be there.
    type: str
    choices: [present, absent]
    default: present
  parts:
    description: What to look at, in this order.
    type: list
    elements: str
    required: true
    choices: [keys, boundary, bucket, roles, endpoints, trail]
  policies:
    description: The folder with the policy files.
    type: path
    required: true
  regions:
    description: The regions in which requests are analyzed.
    type: list
    elements: str
    required: true
  bucket:
    description: The artifact bucket, in O(region).
    type: str
    required: true
  bucket_tls:
    description: Whether the bucket's policy refuses plain HTTP.
    type: bool
    default: true
  bucket_lock_days:
    description: For how many days Object Lock keeps each object. 0 means no Object Lock. It cannot be undone.
    type: int
    default: 0
  bucket_lock_mode:
    description: Whether those who have a right to may end it early.
    type: str
    choices: [governance, compliance]
    default: governance
  bucket_kms_key:
    description: The key that the bucket encrypts with. Empty means S3's own.
    type: str
    default: ""
  abort_uploads_days:
    description: After how many days S3 removes the parts of uploads that nobody ended.
    type: int
    default: 7
  keys:
    description: Keys of KMS.
    type: list
    elements: dict
    default: []
    suboptions:
      alias:
        description: How it is called, with C(alias/).
        type: str
        required: true
      usage:
        description: What it does.
        type: str
        choices: [encrypt, sign]
        default: encrypt
      regions:
        description: Where it is made.
        type: list
        elements: str
        required: true
      description:
        description: What it is for.
        type: str
        default: ""
  delete_keys:
    description: With O(state=absent), have the keys deleted after O(pending_days).
    type: bool
    default: false
  pending_days:
    description: For how many days a deletion can be taken back, 7 to 30.
    type: int
    default: 30
  roles:
    description: Roles, each with policy files of its own.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: How it is called.
        type: str
        required: true
      description:
        description: What it is for.
        type: str
        default: ""
      policies:
        description: Files of O(policies), or paths to files of one's own. They become inline policies.
        type: list
        elements: str
        required: true
      principals:
        description: ARNs of who may assume it.
        type: list
        elements: str
        default: []
      conditions:
        description: The C(Condition) under which they may.
        type: dict
        default: {}
      service:
        description: A service of AWS that may assume it instead. C(ec2.amazonaws.com) gets an instance profile, too.
        type: str
        default: ""
      session_hours:
        description: How long a session may be, 1 to 12.
        type: int
        default: 12
  principals:
    description: ARNs of who may assume the roles that say neither principals nor a service.
    type: list
    elements: str
    default: []
  conditions:
    description: The C(Condition) for these.
    type: dict
    default: {}
  ready_seconds:
    description: For how long to ask the roles that were made until they work. 0 means not at all.
    type: int
    default: 120
  endpoints:
    description: Services that get an endpoint in the network of the analysis subnets, such as C(s3) and C(ebs).
    type: list
    elements: str
    default: []
  subnet_ids:
    description: The analysis subnets.
    type: list
    elements: str
    default: []
  subnet_filters:
    description: Filters of DescribeSubnets, where no ids are given.
    type: dict
    default: {}
  trail:
    description: Name of the trail.
    type: str
    default: dfir-ebs-direct
  trail_bucket:
    description: The bucket that CloudTrail writes to. Empty means C(dfir-trail-) with account and region.
    type: str
    default: ""
  adopt:
    description: Take over what exists without the tag, instead of refusing to change it.
    type: bool
    default: false
  scp_exceptions:
    description: ARNs of roles that may use EBS direct besides those of this set-up, for RV(scp).
    type: list
    elements: str
    default: []
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
  - "Needed: C(docs/iam/setup-policy.json)."
  - Nothing is done when a step is refused.
"""

EXAMPLES = r"""
- name: Say what the account lacks
  dfir.aws.account_setup:
    parts: [keys, boundary, bucket, roles]
    policies: docs/iam
    region: eu-west-1
    regions: [eu-west-1]
    bucket: dfir-artifacts-123456789012
    keys:
      - {alias: alias/dfir-evidence, regions: [eu-west-1]}
    roles:
      - name: dfir-controller
        policies: [controller-policy.json]
        principals: ["arn:aws:iam::123456789012:user/ops"]
  check_mode: true
"""

RETURN = r"""
steps:
  description: What there is to do, to keep, to leave.
  returned: always
  type: list
  elements: dict
  contains:
    part:
      description: The part.
      type: str
    thing:
      description: What it is, and its name.
      type: str
    verb:
      description: C(create), C(change), C(remove), C(keep), C(stay) or C(refuse).
      type: str
    detail:
      description: What differs, or why it stays.
      type: str
    monthly:
      description: US dollars a month while it exists.
      type: float
    priced:
      description: What its use costs, in words.
      type: str
lines:
  description: The same for people.
  returned: always
  type: list
  elements: str
monthly:
  description: What all of it costs a month, in US dollars, without its use.
  returned: always
  type: float
verdict:
  description: One sentence about what stands in the way; empty when nothing does.
  returned: always
  type: str
ready:
  description: Roles that were asked and work, when roles were made or changed.
  returned: always
  type: list
  elements: str
unasked:
  description: Roles that cannot be asked, since the caller may not assume them.
  returned: always
  type: list
  elements: str
scp:
  description: The policy for the organization that denies EBS direct to everybody else. Nothing attaches it.
  returned: always
  type: str
"""

import json
from pathlib import Path
from typing import Any

from ansible_collections.dfir.aws.plugins.module_utils.aws_module import AwsModule

from ..module_utils.setup import ready, steps
from ..module_utils.setup.documents import Documents, service_control_policy
from ..module_utils.setup.parts import PARTS, SCP, verdict, wanted
from ..module_utils.setup.steps import SetupError, Site

try:
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError:  # AnsibleAWSModule says so in a sentence
    BotoCoreError = ClientError = Exception

TEXTS = {"type": "list", "elements": "str", "default": []}
TEXT = {"type": "str", "default": ""}
SPEC = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "parts": {"type": "list", "elements": "str", "required": True, "choices": PARTS},
    "policies": {"type": "path", "required": True}, "regions": {"type": "list", "elements": "str", "required": True},
    "bucket": {"type": "str", "required": True}, "bucket_tls": {"type": "bool", "default": True},
    "bucket_lock_days": {"type": "int", "default": 0},
    "bucket_lock_mode": {"type": "str", "choices": ["governance", "compliance"], "default": "governance"},
    "bucket_kms_key": {**TEXT, "no_log": False}, "abort_uploads_days": {"type": "int", "default": 7},
    "keys": {"type": "list", "elements": "dict", "default": [], "no_log": False, "options": {
        "alias": {"type": "str", "required": True},
        "usage": {"type": "str", "choices": ["encrypt", "sign"], "default": "encrypt"},
        "regions": {"type": "list", "elements": "str", "required": True}, "description": TEXT}},
    "delete_keys": {"type": "bool", "default": False, "no_log": False}, "pending_days": {"type": "int", "default": 30},
    "roles": {"type": "list", "elements": "dict", "default": [], "options": {
        "name": {"type": "str", "required": True}, "description": TEXT,
        "policies": {"type": "list", "elements": "str", "required": True}, "principals": TEXTS,
        "conditions": {"type": "dict", "default": {}}, "service": TEXT,
        "session_hours": {"type": "int", "default": 12}}},
    "principals": TEXTS, "conditions": {"type": "dict", "default": {}},
    "ready_seconds": {"type": "int", "default": 120}, "endpoints": TEXTS, "subnet_ids": TEXTS,
    "subnet_filters": {"type": "dict", "default": {}}, "trail": {"type": "str", "default": "dfir-ebs-direct"},
    "trail_bucket": TEXT, "adopt": {"type": "bool", "default": False}, "scp_exceptions": TEXTS,
}


def work(module: AwsModule, site: Site, documents: Documents, caller: str) -> dict[str, Any]:
    """Find the steps, and do them unless one is refused or it is check mode."""
    asked = module.params
    found = [step for part in asked["parts"] for step in wanted(site, documents, part, asked)]
    changes = [step for step in found if step.verb in steps.CHANGES]
    told = {"steps": [step.facts() for step in found], "lines": [*steps.lines(found), steps.cost(found)],
            "monthly": steps.monthly(found), "verdict": verdict(found), "ready": [], "unasked": [],
            "changed": bool(changes),
            "scp": json.dumps(service_control_policy(documents, SCP, asked["scp_exceptions"]), indent=2)}
    if module.check_mode:
        return told
    if told["verdict"]:
        module.fail_json(msg=told.pop("verdict"), **{**told, "changed": False})
    for number, step in enumerate(changes):
        try:
            step.act()
        except (ClientError, BotoCoreError, SetupError) as error:
            done = ", ".join(one.thing for one in changes[:number]) or "nothing"
            module.fail_json(msg=f"Cannot {step.verb} {step.thing}: {error} (done before: {done}; run it again to go "
                                 f"on)", **told)
    roles = [role for role in asked["roles"] if f"role {role['name']}" in {step.thing for step in changes}]
    if roles and asked["state"] == "present" and asked["ready_seconds"]:
        works, left, told["unasked"] = ready.wait(
            site, roles, caller, lambda service, region, keys: module.client(service, region=region, **keys),
            asked["region"], asked["bucket"], asked["ready_seconds"])
        told["ready"] = works
        if left:
            module.fail_json(msg=f"After {asked['ready_seconds']} s AWS does not let these roles work yet: "
                                 f"{', '.join(left)}. Everything is made; run it again to ask once more.", **told)
    return told


def main() -> None:
    """Entry point."""
    module = AwsModule(argument_spec=SPEC, supports_check_mode=True)
    asked = module.params
    if not module.region:
        module.fail_json(msg="No region is given: the bucket's (dfir_aws_artifact_bucket_region).")
    asked["region"] = module.region
    asked["roles"] = [role if role["principals"] or role["service"] else {
        **role, "principals": asked["principals"], "conditions": role["conditions"] or asked["conditions"]}
        for role in asked["roles"]]
    try:
        who = module.client("sts").get_caller_identity()
        site = Site(who["Account"], str(who["Arn"]).split(":")[1], _clients(module), asked["adopt"])
        documents = Documents(Path(asked["policies"]), site.partition, site.account, asked["bucket"], asked["regions"])
        told = work(module, site, documents, who["Arn"])
    except SetupError as error:
        module.fail_json(msg=str(error))
    except (ClientError, BotoCoreError) as error:
        module.fail_json_aws(error, msg="Cannot look at the account (docs/iam/setup-policy.json)")
    module.exit_json(**told)


def _clients(module: AwsModule) -> Any:
    known: dict[tuple[str, str], Any] = {}

    def client(service: str, region: str) -> Any:
        where = (service, region or module.params["region"])
        if where not in known:
            known[where] = module.client(service, region=where[1])
        return known[where]

    return client


if __name__ == "__main__":
    main()
