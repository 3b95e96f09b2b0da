#!/usr/bin/python
# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A look into a snapshot, without an instance, a mount or root."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: ebs_snapshot_triage
version_added: 0.1.0
short_description: Look into a snapshot in seconds, without launching anything
description:
  - Reads file systems inside a snapshot over EBS direct, fetching only the blocks that are needed. Nothing is
    launched, mounted or copied, and root is not needed. It works on raw images and E01 files, too.
  - Says which system it is, who could log in and did, what starts by itself, what looks wrong and why, and when
    everything changed. What an unreplayed journal may hide is said first.
  - ext2, ext3, ext4, XFS, btrfs, NTFS and FAT are read, with and without a partition table, LVM included. LUKS and
    BitLocker are opened where O(key_file) has the key; without, and RAID, they are reported.
  - Of Windows, its own records are read (registry, tasks, security log), too, which is unverified.
  - What could not be read within the limit is listed, and nothing is concluded from it.
options:
  dest:
    description:
      - Folder on the machine that looks. It gets C(triage.json) and, for the timeline, C(timeline.bodyfile.gz) and
        C(timeline.csv.gz).
      - A folder that holds the answer to the same question already is left as it is.
    type: path
    required: true
  incident:
    description: The incident, for the report.
    type: str
    default: ""
  rules:
    description: Files with rules beside those that are built in, see C(roles/triage/files).
    type: list
    elements: path
    default: []
  indicators:
    description: Lists of hashes, paths and words, one a line.
    type: list
    elements: path
    default: []
  yara_rules:
    description:
      - Files with YARA rules, matched against what is read anyway, up to 64 MiB of a file from its beginning. No block
        is fetched for them. C(include) is refused.
      - A match is as severe as the rule's C(severity) in C(meta) says, V(medium) without it.
      - Needs the Python package C(yara-x).
    type: list
    elements: path
    default: []
  timeline:
    description: Make the timeline of all entries, too.
    type: bool
    default: true
  timeline_rows:
    description: How many of its rows go into the report itself, the newest and those with findings first.
    type: int
    default: 100000
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
  - module: dfir.aws.ebs_snapshot_extract
  - module: dfir.aws.ebs_snapshot_image
author:
  - The dfir.aws authors (@dfir-aws)
"""

EXAMPLES = r"""
- name: Look into a snapshot
  dfir.aws.ebs_snapshot_triage:
    snapshot_id: snap-0123456789abcdef0
    region: eu-west-1
    incident: INC-2026-0042
    dest: /evidence/INC-2026-0042/triage

- name: Look into an E01, with a team's own rules
  dfir.aws.ebs_snapshot_triage:
    image: /evidence/web01.E01
    region: eu-west-1
    dest: /evidence/web01.triage
    rules: [/etc/dfir/campaign.yml]
"""

RETURN = r"""
triage:
  description: What was found, in short. The whole is in C(triage.json).
  returned: success
  type: dict
  contains:
    facts:
      description: Label, value and partition of what is known of the systems.
      type: list
      elements: dict
    counts:
      description: Findings by severity.
      type: dict
    warnings:
      description: What limits all of it, such as a journal that was not replayed.
      type: list
      elements: str
    not_read:
      description: What was not read, and why.
      type: list
      elements: str
    source:
      description: What was looked into, and what that took, as blocks, bytes and seconds.
      type: dict
    made:
      description: When, in UTC.
      type: str
files:
  description: What was written, each with C(name), C(path), C(sha256) and C(bytes).
  returned: when something was written or is there
  type: list
  elements: dict
"""

from pathlib import Path
from typing import Any

from ansible_collections.dfir.aws.plugins.module_utils.aws_module import AwsModule
from ansible_collections.dfir.aws.plugins.module_utils.ebs.errors import BadInput
from ansible_collections.dfir.aws.plugins.module_utils.ebs_work import Work
from ansible_collections.dfir.aws.plugins.module_utils.triage import keep, rules, yara_match
from ansible_collections.dfir.aws.plugins.module_utils.triage.look import Triage, Wish
from ansible_collections.dfir.aws.plugins.module_utils.triage.timeline import write_timeline
from ansible_collections.dfir.aws.plugins.module_utils.triage_source import (
    KEY_SPEC,
    ONE_SOURCE,
    SOURCE_SPEC,
    open_source,
    source_client,
    source_keys,
    source_name,
)


def short(data: dict[str, Any]) -> dict[str, Any]:
    """What a playbook needs of it. Text from evidence was cleaned, and is no more than shown."""
    return {name: data[name] for name in ("facts", "counts", "warnings", "not_read", "source", "made")}


def main() -> None:
    """Entry point."""
    module = AwsModule(supports_check_mode=True, **ONE_SOURCE, argument_spec={
        "dest": {"type": "path", "required": True},
        "incident": {"type": "str", "default": ""},
        "rules": {"type": "list", "elements": "path", "default": []},
        "indicators": {"type": "list", "elements": "path", "default": []},
        "yara_rules": {"type": "list", "elements": "path", "default": []},
        "timeline": {"type": "bool", "default": True},
        "timeline_rows": {"type": "int", "default": 100000},
        **SOURCE_SPEC,
        **KEY_SPEC,
    })
    given = module.params
    work = Work(module)
    client = source_client(module, work)

    def triage() -> dict[str, Any]:
        if given["timeline_rows"] < 0:
            raise BadInput("timeline_rows must not be negative.")
        folder = Path(given["dest"])
        extra = [Path(path) for path in (*given["rules"], *given["indicators"], *given["yara_rules"])]
        found = rules.load(map(Path, given["rules"]), map(Path, given["indicators"]))
        keys = source_keys(module)
        yara = yara_match.load(map(Path, given["yara_rules"]))
        asked = keep.question(source_name(module), client.region if client else "", given["limit_blocks"] or None,
                              given["timeline"], extra)
        there = keep.answered(folder, asked)
        if there is not None:
            return {"changed": False, "triage": short(there), "files": keep.files(folder, there)}
        if module.check_mode:
            return {"changed": True}
        source = open_source(module, work, client)
        try:
            wish = Wish(given["incident"], found, lambda text: work.guard.tell(text, 0), yara, keys)
            one = Triage(source, wish).run()
            rows: dict[str, Any] = {}
            names: list[str] = []
            if given["timeline"]:
                rows, names = write_timeline(one, folder, given["timeline_rows"])
            data = keep.keep(folder, one.report(rows), asked, names)
        finally:
            source.close()
        return {"changed": True, "triage": short(data), "files": keep.files(folder, data)}

    work.run(triage)


if __name__ == "__main__":
    main()
