#!/usr/bin/python
# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: analyst_key_info
short_description: Look up and check an analyst's SSH public key
version_added: 0.1.0
author:
  - The dfir.aws authors (@dfir-aws)
description:
  - Gets the key from where the registry of analysts says, and takes it apart to see that it is one, and a strong one.
  - Ed25519, ECDSA, RSA from 2048 bits and the security-key types are taken. Options before the key, several lines and
    damaged keys are refused.
options:
  source:
    description:
      - Where the key lies.
      - V(registry) takes O(value); V(ssm) reads a Systems Manager parameter, V(secretsmanager) a secret, and V(iam) the
        newest active SSH public key of an IAM user.
    type: str
    choices: [registry, ssm, secretsmanager, iam]
    required: true
  name:
    description: The name of the parameter, secret or IAM user.
    type: str
  value:
    description: The key itself.
    type: str
  analyst:
    description: The analyst's uid, which becomes the key's comment.
    type: str
    required: true
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
  - dfir.aws.aws.read_only
notes:
  - "Needed, by source: C(ssm:GetParameter), C(secretsmanager:GetSecretValue), or C(iam:ListSSHPublicKeys) and
    C(iam:GetSSHPublicKey)."
"""

EXAMPLES = r"""
- name: Look up the analyst's key
  dfir.aws.analyst_key_info:
    source: ssm
    name: /dfir/analysts/alice/public_key
    analyst: alice
    region: eu-west-1
"""

RETURN = r"""
key:
  description: The line for authorized_keys, with the analyst's uid as its comment.
  returned: success
  type: str
fingerprint:
  description: The key's SHA-256 fingerprint, as ssh-keygen prints it.
  returned: success
  type: str
type:
  description: The key's type.
  returned: success
  type: str
  sample: ssh-ed25519
bits:
  description: The key's size.
  returned: success
  type: int
"""

from collections.abc import Callable
from typing import Any

try:  # noqa: SIM105  the form that ansible-test knows
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError:
    pass  # AnsibleAWSModule says so

from ansible_collections.dfir.aws.plugins.module_utils.aws_module import AwsModule

from ..module_utils import ssh_key


def from_ssm(module: AwsModule, name: str) -> str:
    """The text of a Systems Manager parameter."""
    answer = module.client("ssm").get_parameter(Name=name, WithDecryption=True)
    return answer["Parameter"]["Value"]


def from_secretsmanager(module: AwsModule, name: str) -> str:
    """The text of a secret."""
    return module.client("secretsmanager").get_secret_value(SecretId=name).get("SecretString", "")


def from_iam(module: AwsModule, name: str) -> str:
    """The newest active SSH public key of an IAM user."""
    client = module.client("iam")
    keys = [
        key for page in client.get_paginator("list_ssh_public_keys").paginate(UserName=name)
        for key in page["SSHPublicKeys"] if key["Status"] == "Active"
    ]
    if not keys:
        raise ssh_key.KeyRefused("The IAM user has no active SSH public key.")
    newest = max(keys, key=lambda key: key["UploadDate"])
    answer = client.get_ssh_public_key(UserName=name, SSHPublicKeyId=newest["SSHPublicKeyId"], Encoding="SSH")
    return answer["SSHPublicKey"]["SSHPublicKeyBody"]


SOURCES: dict[str, Callable[[Any, str], str]] = {
    "ssm": from_ssm, "secretsmanager": from_secretsmanager, "iam": from_iam,
}
MISSING = ("ParameterNotFound", "ResourceNotFoundException", "NoSuchEntity")
DENIED = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation")


def main() -> None:
    """Entry point of the module."""
    module = AwsModule(
        argument_spec={
            "source": {"type": "str", "required": True, "choices": ["registry", *SOURCES]},
            "name": {"type": "str"},
            # A public key is no secret; the option's name does not say so to sanity checks.
            "value": {"type": "str", "no_log": False},
            "analyst": {"type": "str", "required": True},
        },
        required_if=[("source", "registry", ["value"])],
        supports_check_mode=True,
    )
    source, name = module.params["source"], module.params["name"] or ""
    where = "the registry" if source == "registry" else f"{source} under the name {name}"
    start = f"The SSH public key of {module.params['analyst']} from {where}"
    if source != "registry" and not name:
        module.fail_json(msg=f"{start} has no name: complete public_key in the registry of analysts.")
    try:
        text = module.params["value"] if source == "registry" else SOURCES[source](module, name)
        key = ssh_key.parse(text, comment=module.params["analyst"])
    except ssh_key.KeyRefused as error:
        module.fail_json(msg=f"{start} cannot be used. {error}")
    except ClientError as error:
        code = error.response["Error"]["Code"]
        why = "does not exist" if code in MISSING else "may not be read" if code in DENIED else "could not be read"
        module.fail_json(msg=f"{start} {why}: {error}", error_code=code)
    except BotoCoreError as error:
        module.fail_json(msg=f"{start} could not be read: {error}")
    module.exit_json(changed=False, key=key.line, fingerprint=key.fingerprint, type=key.type, bits=key.bits)


if __name__ == "__main__":
    main()
