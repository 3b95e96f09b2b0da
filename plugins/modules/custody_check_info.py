#!/usr/bin/python
# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: custody_check_info
short_description: Check the custody ledger of an incident, its signatures and its artifacts
version_added: 0.1.0
author:
  - The dfir.aws authors (@dfir-aws)
description:
  - Reads a ledger in the artifact bucket or in a folder, and says whether every entry, every signature and every
    artifact fits, or which is the first that does not.
  - The module fails where something could not be checked. What does not fit is a finding, in RV(verdict).
options:
  bucket:
    description: The artifact bucket.
    type: str
    default: ""
  folder:
    description: A copy of the bucket on the controller, instead of it, with C(custody/) and the incident's folder.
    type: path
  incident:
    description: The incident.
    type: str
    required: true
  public_key:
    description: A file with the public key, PEM or DER, from outside the case.
    type: path
  signing_key:
    description: Id, ARN or alias of the key of KMS, which is asked for its public half where there is no O(public_key).
    type: str
    default: ""
  noted_head:
    description: Number and SHA-256 of an entry, with a colon, as somebody noted it outside the case. It must be there.
    type: str
    default: ""
  artifacts:
    description: Read the artifacts, too.
    type: bool
    default: true
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
  - dfir.aws.aws.read_only
notes:
  - "Needed: docs/iam/custody-policy.json."
seealso:
  - module: dfir.aws.custody_record
"""

EXAMPLES = r"""
- name: Check the case
  dfir.aws.custody_check_info:
    bucket: dfir-artifacts-123456789012
    incident: INC-2026-0042
    public_key: /srv/keys/custody.pem
  register: checked

- name: Say so
  ansible.builtin.debug:
    msg: "{{ checked.lines }}"
"""

RETURN = r"""
verdict:
  description:
    - C(state) is V(valid), V(unsigned) (the last entries are not signed) or V(invalid). C(problem) and C(place) name
      the first thing that does not fit. C(entries), C(signed) and C(artifacts) are numbers, C(head) is a SHA-256.
  returned: success
  type: dict
lines:
  description: The same for people.
  returned: success
  type: list
  elements: str
entries:
  description: The entries that fit, in their order.
  returned: success
  type: list
  elements: dict
artifacts:
  description: The artifacts whose content was read and fits - C(key), C(size) and C(sha256).
  returned: success
  type: list
  elements: dict
key_sha256:
  description: The SHA-256 of the public key's DER form, by which keys are compared.
  returned: success
  type: str
"""

from pathlib import Path

from ansible_collections.dfir.aws.plugins.module_utils.aws_module import AwsModule

from ..module_utils.custody import verify
from ..module_utils.custody.errors import BadInput, CustodyError
from ..module_utils.custody.rsa import PublicKey, read_key
from ..module_utils.custody_module import OPTIONS, signer, store


def public_key(module: AwsModule) -> PublicKey:
    """The key that all signatures must be by."""
    name = module.params["public_key"]
    if not name:
        return read_key(signer(module).public_key())
    try:
        return read_key(Path(name).read_bytes())
    except OSError as error:
        raise BadInput(f"The public key {name} cannot be read: {error.strerror}.") from error


def main() -> None:
    """Entry point."""
    module = AwsModule(
        supports_check_mode=True,
        required_one_of=[("bucket", "folder"), ("public_key", "signing_key")],
        argument_spec={
            **OPTIONS,
            "folder": {"type": "path"},
            "public_key": {"type": "path", "no_log": False},
            "noted_head": {"type": "str", "default": ""},
            "artifacts": {"type": "bool", "default": True},
        })
    given = module.params
    try:
        key = public_key(module)
        verdict = verify.verify(store(module), given["incident"], key, artifacts=given["artifacts"],
                                noted=verify.Noted.read(given["noted_head"]) if given["noted_head"] else None)
    except CustodyError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, verdict=verify.as_data(verdict), lines=verify.lines(verdict),
                     entries=verdict.entries, artifacts=verdict.artifacts, key_sha256=key.fingerprint)


if __name__ == "__main__":
    main()
