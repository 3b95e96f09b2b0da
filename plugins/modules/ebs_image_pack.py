#!/usr/bin/python
# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An image, compressed and encrypted."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: ebs_image_pack
version_added: 0.1.0
short_description: Compress and encrypt an image
description:
  - Compresses with zstd or gzip, then encrypts with age, as one stream. C(age) and C(zstd) open it without us.
  - A record of sizes and digests is put beside it (C(<dest>.json)). The packed file gets its name last.
options:
  src:
    description: File or block device.
    type: path
    required: true
  dest:
    description: Default, O(src) with C(.zst.age), C(.gz.age) or C(.age).
    type: path
  recipients:
    description: Who can open it, age recipients or public SSH keys.
    type: list
    elements: str
    default: []
  passphrase:
    description:
      - A passphrase instead. It protects a generated identity, put beside the packed file (C(<dest>.identity)), which
        encrypts the stream; opening takes both.
      - Takes some seconds and up to 1 GiB of memory, that is its point.
    type: str
  compression:
    description: How it is compressed. An E01 is compressed already.
    type: str
    choices: [zstd, gzip, none]
    default: zstd
  level:
    description: Level of the compression. Default 3 for zstd, 6 for gzip.
    type: int
  manifest:
    description: The image's manifest. The image must have the SHA-256 of the whole image that it states.
    type: path
extends_documentation_fragment:
  - dfir.aws.ebs.worker
attributes:
  check_mode:
    description: Can run in check mode and tells what it would change, without changing anything.
    support: full
  diff_mode:
    description: Returns details on what has changed, or would change, in diff mode.
    support: none
  idempotent:
    description: A second run in the same state changes nothing.
    support: full
requirements:
  - pyrage
  - zstandard (for zstd, before Python 3.14)
seealso:
  - module: dfir.aws.ebs_image_unpack
author:
  - The dfir.aws authors (@dfir-aws)
"""

EXAMPLES = r"""
- name: Pack an image for two people
  dfir.aws.ebs_image_pack:
    src: /evidence/web01.raw
    manifest: /evidence/web01.raw.manifest
    recipients:
      - age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p
      - ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0Zb8cLDeuEZkWBBBlHq0hNjtG7zS4kf6kV0WJQ1F7u
"""

RETURN = r"""
packed:
  description: What is in the record beside the packed file.
  returned: success
  type: dict
  contains:
    path:
      description: The packed file.
      type: str
    plain_size:
      description: Bytes of the image.
      type: int
    plain_sha256:
      description: SHA-256 of the image.
      type: str
    packed_size:
      description: Bytes of the packed file.
      type: int
    packed_sha256:
      description: SHA-256 of the packed file.
      type: str
    identity_file:
      description: With O(passphrase), the name of the identity that it protects.
      type: str
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dfir.aws.plugins.module_utils.ebs.pack import pack, packed_name, wanted_sha256
from ansible_collections.dfir.aws.plugins.module_utils.ebs_work import WORKER_SPEC, Work


def main() -> None:
    """Entry point."""
    module = AnsibleModule(
        supports_check_mode=True, mutually_exclusive=[("recipients", "passphrase")],
        argument_spec={
            "src": {"type": "path", "required": True},
            "dest": {"type": "path"},
            "recipients": {"type": "list", "elements": "str", "default": []},
            "passphrase": {"type": "str", "no_log": True},
            "compression": {"type": "str", "choices": ["zstd", "gzip", "none"], "default": "zstd"},
            "level": {"type": "int"},
            "manifest": {"type": "path"},
            **WORKER_SPEC,
        })
    work, given = Work(module), module.params

    def make() -> dict[str, Any]:
        target = Path(given["dest"]) if given["dest"] else packed_name(Path(given["src"]), given["compression"])
        if module.check_mode and not target.exists():
            return {"changed": True, "packed": {"path": str(target)}}
        made = pack(
            given["src"], target, recipients=given["recipients"], passphrase=given["passphrase"],
            compression=given["compression"], level=given["level"], expect_sha256=wanted_sha256(given["manifest"]),
            stop=work.stop, tell=work.tell)
        return {"changed": made.changed, "packed": {"path": str(made.path), **made.record.to_json()}}

    work.run(make)


if __name__ == "__main__":
    main()
