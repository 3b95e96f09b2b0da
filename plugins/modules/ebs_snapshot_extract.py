#!/usr/bin/python
# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files out of a snapshot, without an instance, a mount or root."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: ebs_snapshot_extract
version_added: 0.1.0
short_description: Take files out of a snapshot, without launching anything
description:
  - Takes files out of file systems inside a snapshot, by path, pattern or inode, each with its SHA-256 and times. Only
    the blocks that are needed are fetched. It works on raw images and E01 files, too.
  - No name from the evidence becomes a path here as it is. C(extracted.json) beside the files says what each was
    called, and why others are listed only, such as links, devices, and files above the limits.
  - A file has its name only when it is whole.
options:
  paths:
    description: Absolute paths within the evidence. C(*), C(?) and C([...]) stay within one folder, C(**) does not.
    type: list
    elements: str
    default: []
  inodes:
    description: Numbers of inodes (of MFT entries on NTFS). The whole tree is walked for them.
    type: list
    elements: int
    default: []
  partition:
    description: Only this one, by its name in a triage, such as C(p1) or C(p2.lv1).
    type: str
    default: ""
  dest:
    description: Folder on the machine that looks. It must be empty, or not there yet.
    type: path
    required: true
  largest_mib:
    description: Larger files are listed only.
    type: int
    default: 1024
  total_mib:
    description: Files that come after so much are listed only.
    type: int
    default: 8192
extends_documentation_fragment:
  - dfir.aws.ebs
  - dfir.aws.ebs.worker
  - dfir.aws.ebs.source
  - dfir.aws.ebs.keys
  - dfir.aws.aws.attributes
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
seealso:
  - module: dfir.aws.ebs_snapshot_triage
author:
  - The dfir.aws authors (@dfir-aws)
"""

EXAMPLES = r"""
- name: Take what a triage has pointed at
  dfir.aws.ebs_snapshot_extract:
    snapshot_id: snap-0123456789abcdef0
    region: eu-west-1
    paths: [/etc/cron.d/*, "/home/*/.ssh/**", /var/log/auth.log*]
    dest: /evidence/INC-2026-0042/files
"""

RETURN = r"""
files:
  description:
    - Every match, with C(partition), C(path), C(inode), C(size), C(times), C(file) and C(sha256), or a C(reason).
  returned: when it was done
  type: list
  elements: dict
left_out:
  description: How many files the limits kept out.
  returned: when it was done
  type: int
source:
  description: What was looked into, and what that took.
  returned: when it was done
  type: dict
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from ansible_collections.dfir.aws.plugins.module_utils.aws_module import AwsModule
from ansible_collections.dfir.aws.plugins.module_utils.ebs_work import Work
from ansible_collections.dfir.aws.plugins.module_utils.triage.disk import ENCRYPTED
from ansible_collections.dfir.aws.plugins.module_utils.triage.extract import LIST, Wanted, extract
from ansible_collections.dfir.aws.plugins.module_utils.triage.look import open_trees
from ansible_collections.dfir.aws.plugins.module_utils.triage_source import (
    KEY_SPEC,
    ONE_SOURCE,
    SOURCE_SPEC,
    open_source,
    source_client,
    source_keys,
    source_name,
)


def main() -> None:
    """Entry point."""
    module = AwsModule(supports_check_mode=True, **ONE_SOURCE, argument_spec={
        "paths": {"type": "list", "elements": "str", "default": []},
        "inodes": {"type": "list", "elements": "int", "default": []},
        "partition": {"type": "str", "default": ""},
        "dest": {"type": "path", "required": True},
        "largest_mib": {"type": "int", "default": 1024},
        "total_mib": {"type": "int", "default": 8192},
        **SOURCE_SPEC,
        **KEY_SPEC,
    })
    given = module.params
    work = Work(module)
    client = source_client(module, work)
    folder = Path(given["dest"])

    def take() -> dict[str, Any]:
        keys = source_keys(module)
        question = [source_name(module), client.region if client else "",
                    *(given[name] for name in ("paths", "inodes", "partition", "largest_mib", "total_mib"))]
        asked = hashlib.sha256(json.dumps(question).encode()).hexdigest()
        there = answered(folder, asked)
        if there is not None:
            return {"changed": False, **there}
        if module.check_mode:
            return {"changed": True}
        source = open_source(module, work, client)
        try:
            trees, parts, _problems, _unread = open_trees(source, keys=keys)
            for part in parts:
                if part.kind in ENCRYPTED and not part.opened:
                    module.warn(f"{part.name}: {part.reason}.")
            data = extract(source, trees, Wanted(
                given["paths"], given["inodes"], given["partition"], given["largest_mib"] << 20,
                given["total_mib"] << 20, asked, lambda text: work.guard.tell(text, 0)), folder)
        finally:
            source.close()
        return {"changed": True, **{key: data[key] for key in ("files", "left_out", "source")}}

    work.run(take)


def answered(folder: Path, asked: str) -> dict[str, Any] | None:
    """What an earlier run has taken, where it was asked for the same and its files are there still."""
    try:
        data = json.loads((folder / LIST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if data.get("asked") != asked:
        return None
    if not all((folder / file["file"]).is_file() for file in data["files"] if file["file"]):
        return None
    return {key: data[key] for key in ("files", "left_out", "source")}


if __name__ == "__main__":
    main()
