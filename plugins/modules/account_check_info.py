#!/usr/bin/python
# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an account lacks for requests, before the first of them."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: account_check_info
version_added: 0.1.0
short_description: Say what an account lacks for requests, and how to get it
description:
  - Looks at the caller and its rights, the vCPU quota, the machine image, subnets and the ways out of them, the
    artifact bucket and its policy, the KMS key, the permissions boundary, the mail server and the toolbox image.
  - Changes nothing. Rights to create are asked for with C(DryRun), or by a write that cannot succeed; what shows only
    when it is used is said to be not checkable.
  - No mail is sent. The mail server is asked whether it would take one.
options:
  regions:
    description: The regions in which requests are analyzed.
    type: list
    elements: str
    required: true
  instance_type:
    description: The instance type that image and quota are held against.
    type: str
    default: m6i.large
  bucket:
    description: The artifact bucket.
    type: str
    default: ""
  bucket_region:
    description: The bucket's region.
    type: str
    default: ""
  permissions_boundary_arn:
    description: The boundary inside which every host's role lies.
    type: str
    default: ""
  kms_key_id:
    description: The key of copies and volumes. Empty means the region's default key for EBS.
    type: str
    default: ""
  image_id:
    description: The machine image. Outranks O(parameter).
    type: str
    default: ""
  parameter:
    description: Name of an SSM parameter that holds an image id.
    type: str
    default: ""
  subnet_ids:
    description: The subnets of hosts.
    type: list
    elements: str
    default: []
  subnet_filters:
    description: Filters of DescribeSubnets, where no ids are given.
    type: dict
    default: {}
  controller_cidrs:
    description: From where the controller connects to hosts.
    type: list
    elements: str
    default: []
  controller_public_key:
    description: The SSH public key of the controller.
    type: str
    default: ""
  analysts:
    description: The registry of analysts.
    type: list
    elements: dict
    default: []
  registry_source:
    description: Where the registry comes from, as for M(dfir.aws.analysis_request).
    type: str
    choices: [inventory, file]
    default: inventory
  registry_file:
    description: A YAML or JSON file with the registry.
    type: str
    default: ""
  mail:
    description: The mail server, and who gets mails.
    type: dict
    default: {}
    suboptions:
      host:
        description: The server.
        type: str
        default: ""
      port:
        description: Its port.
        type: int
        default: 25
      secure:
        description: How TLS is used, as for M(community.general.mail).
        type: str
        choices: [always, never, starttls, try]
        default: try
      from:
        description: The sender.
        type: str
        default: ""
      recipients:
        description: Who gets every mail.
        type: list
        elements: str
        default: []
      username:
        description: User name.
        type: str
        default: ""
      password:
        description: Password.
        type: str
        default: ""
      timeout:
        description: Seconds to wait for the server.
        type: int
        default: 10
  toolbox_image:
    description: The full name of the toolbox image.
    type: str
    default: ""
  toolbox_archive:
    description: Key of an archive in the bucket that holds it; empty, where hosts pull it.
    type: str
    default: ""
  toolbox_registry_insecure:
    description: Whether its registry speaks plain HTTP.
    type: bool
    default: false
  apt_source:
    description: The package mirror of hosts, where they have one.
    type: str
    default: ""
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
  - dfir.aws.aws.read_only
author:
  - The dfir.aws authors (@dfir-aws)
notes:
  - "Needed: the actions of the statements whose names begin with C(Look), and C(SeeTheBucket...), in
    C(docs/iam/controller-policy.json). What the caller may not ask is said to be not checkable."
"""

EXAMPLES = r"""
- name: Look at an account before the first incident
  dfir.aws.account_check_info:
    regions: [eu-west-1]
    bucket: dfir-artifacts-123456789012
    bucket_region: eu-west-1
    parameter: /aws/service/debian/release/12/latest/amd64
    subnet_filters: {"tag:Name": dfir-analysis}
  register: checked
"""

RETURN = r"""
findings:
  description: What was found, in the order in which it is needed.
  returned: always
  type: list
  elements: dict
  contains:
    topic:
      description: What was looked at.
      type: str
    region:
      description: In which region, where it is one's.
      type: str
    state:
      description: C(ok), C(missing) or C(not checkable).
      type: str
    text:
      description: What was seen.
      type: str
    remedy:
      description: A command, or where the manual says what to do.
      type: str
    needed:
      description: Whether requests cannot work without it.
      type: bool
lines:
  description: The same for people.
  returned: always
  type: list
  elements: str
verdict:
  description: One sentence about what is needed and missing; empty when nothing is.
  returned: always
  type: str
"""

from dataclasses import asdict
from typing import Any

from ansible_collections.dfir.aws.plugins.module_utils.aws_module import AwsModule

from ..module_utils.account import compute, findings, identity, outside, storage
from ..module_utils.registry import RegistryError

try:
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError:  # AnsibleAWSModule says so in a sentence
    BotoCoreError = ClientError = Exception

TEXT = {"type": "str", "default": ""}
MAIL = {
    "host": TEXT, "port": {"type": "int", "default": 25},
    "secure": {"type": "str", "choices": ["always", "never", "starttls", "try"], "default": "try"}, "from": TEXT,
    "recipients": {"type": "list", "elements": "str", "default": []}, "username": TEXT,
    "password": {**TEXT, "no_log": True}, "timeout": {"type": "int", "default": 10},
}


def checked(asks: findings.Asks) -> list[findings.Finding]:
    """Every check, one after the other; none ends another."""
    done = findings.carried_out
    found = [*done("caller", "", identity.caller, asks), *done("settings", "", outside.settings, asks)]
    for region in asks.settings["regions"]:
        for topic, check in (("vCPU quota", compute.quota), ("image", compute.image), ("subnet", compute.network),
                             ("KMS key", storage.key), ("rights", identity.permissions)):
            found += done(topic, region, check, asks, region)
    if asks.bucket and asks.bucket_region:
        found += [*done("bucket", "", storage.bucket, asks), *done("rights", "", identity.record_rights, asks)]
    return [*found, *done("boundary", "", identity.boundary, asks), *done("mail", "", outside.mail, asks),
            *done("toolbox image", "", outside.toolbox, asks)]


def main() -> None:
    """Entry point."""
    module = AwsModule(
        argument_spec={
            "regions": {"type": "list", "elements": "str", "required": True},
            "instance_type": {"type": "str", "default": "m6i.large"},
            "bucket": TEXT, "bucket_region": TEXT, "permissions_boundary_arn": TEXT,
            "kms_key_id": {**TEXT, "no_log": False},
            "image_id": TEXT, "parameter": TEXT, "subnet_ids": {"type": "list", "elements": "str", "default": []},
            "subnet_filters": {"type": "dict", "default": {}},
            "controller_cidrs": {"type": "list", "elements": "str", "default": []},
            "controller_public_key": {**TEXT, "no_log": False},
            "analysts": {"type": "list", "elements": "dict", "default": []},
            "registry_source": {"type": "str", "choices": ["inventory", "file"], "default": "inventory"},
            "registry_file": TEXT, "mail": {"type": "dict", "default": {}, "options": MAIL}, "toolbox_image": TEXT,
            "toolbox_archive": TEXT, "toolbox_registry_insecure": {"type": "bool", "default": False},
            "apt_source": TEXT,
        },
        supports_check_mode=True,
    )
    if not module.params["regions"]:
        module.fail_json(msg="regions must name at least one region in which requests are analyzed.")

    def client(service: str, region: str) -> Any:
        return module.client(service, region=region or module.params["regions"][0])

    try:
        who = client("sts", module.params["bucket_region"]).get_caller_identity()
        settings = {**module.params, "owner": None, "name": None, "account": who["Account"],
                    "partition": str(who["Arn"]).split(":")[1]}
        found = checked(findings.Asks(settings, client))
    except RegistryError as error:
        module.fail_json(msg=str(error))
    except (ClientError, BotoCoreError) as error:
        module.fail_json_aws(error, msg="The AWS identity of this run is unknown")
    module.exit_json(changed=False, findings=[asdict(item) for item in found], lines=findings.lines(found),
                     verdict=findings.verdict(found))


if __name__ == "__main__":
    main()
