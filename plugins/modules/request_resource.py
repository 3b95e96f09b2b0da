#!/usr/bin/python
# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove one thing of a request, after a last look at its tags."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: request_resource
version_added: 0.1.0
short_description: Remove one thing that a request made
description:
  - Removes a host, a volume, a security group, or a part of a role or an instance profile, as
    M(dfir.aws.request_resources_info) lists them.
  - Reads its tags again right before. What does not carry all tags of a request in their forms, or other ones than were
    told, is left alone, and the module fails with the reason.
  - What is not there any more is no failure and no change.
  - Returns at once. Use M(dfir.aws.aws_wait) to wait for the end of a host.
options:
  type:
    description: What it is.
    type: str
    required: true
    choices: [instance, volume, security-group, role-in-profile, instance-profile, role-policy, role]
  id:
    description:
      - Its id or name. A part of a role or profile is named C(dfir-0123456789abcdef/part).
    type: str
    required: true
  tags:
    description: The tags that it was seen with.
    type: dict
    required: true
  state:
    description: What it shall be.
    type: str
    choices: [absent]
    default: absent
  iam_path:
    description: Path of the roles and profiles of requests.
    type: str
    default: /dfir/
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
  - dfir.aws.aws.attributes
attributes:
  check_mode:
    support: full
    details:
      - Looks at it and its tags as a run would, and says whether it would be removed.
  diff_mode:
    support: none
  idempotent:
    support: full
author:
  - The dfir.aws authors (@dfir-aws)
seealso:
  - module: dfir.aws.request_resources_info
"""

EXAMPLES = r"""
- name: Remove what a request left behind
  dfir.aws.request_resource:
    type: "{{ item.type }}"
    id: "{{ item.id }}"
    tags: "{{ item.tags }}"
    region: eu-west-1
  loop: "{{ left.resources }}"
"""

RETURN = r"""
gone:
  description: It was not there any more.
  returned: success
  type: bool
try_again:
  description: It failed because something still holds it that may let go of it in a moment.
  returned: always
  type: bool
previous_state:
  description: The state that it was seen in, where it has one.
  returned: success
  type: str
"""

from ansible_collections.dfir.aws.plugins.module_utils.aws_module import AwsModule

from ..module_utils.outlived import KINDS
from ..module_utils.reaping import PASSING, Gone, Refused, Thing
from ..module_utils.waits import code_of

try:
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError:  # AnsibleAWSModule says so in a sentence
    BotoCoreError = ClientError = Exception


def main() -> None:
    """Entry point."""
    module = AwsModule(
        argument_spec={
            "type": {"type": "str", "required": True, "choices": list(KINDS)},
            "id": {"type": "str", "required": True},
            "tags": {"type": "dict", "required": True},
            "state": {"type": "str", "choices": ["absent"], "default": "absent"},
            "iam_path": {"type": "str", "default": "/dfir/"},
        },
        supports_check_mode=True,
    )
    kind, identifier = module.params["type"], module.params["id"]
    thing = Thing(kind, identifier, module.client, module.params["iam_path"])
    try:
        state = thing.remove(module.params["tags"], check_mode=module.check_mode)
    except Gone:
        module.exit_json(changed=False, gone=True, try_again=False, previous_state="")
    except Refused as refusal:
        module.fail_json(msg=str(refusal), try_again=False)
    except (ClientError, BotoCoreError) as error:
        module.fail_json_aws(error, msg=f"The {kind} {identifier} could not be removed",
                             try_again=code_of(error) in PASSING)
    module.exit_json(changed=True, gone=False, try_again=False, previous_state=state)


if __name__ == "__main__":
    main()
