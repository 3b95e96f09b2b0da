#!/usr/bin/python
# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write-protect, identify and mount an attached EBS volume that is evidence."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: evidence_volume
short_description: Write-protect, identify and mount an attached EBS volume
version_added: 0.1.0
author: The dfir.aws authors (@dfir-aws)
description:
  - Finds the disk of an EBS volume by the volume's id, never by the order in which disks appeared.
  - Sets the disk and every partition read-only before anything is read from it.
  - Identifies every partition, mounts the file systems read-only without replaying their journals, and says of each
    whether its journal holds changes that the mounted tree does not show.
  - Says of a member of a set (LVM volume group, md RAID, btrfs of several devices) which set it belongs to, as far as
    the bytes on the disk tell. Nothing is activated or assembled.
  - A second, throw-away volume of the same snapshot can be mounted with its journals applied (O(role=journal)).
    Evidence itself is never written.
  - LVM, RAID, LUKS, BitLocker, swap and unknown partitions are reported and left alone. Of one without a known
    signature it says whether it holds zeros, or a copy of a superblock that was overwritten.
  - Runs on the analysis host and needs nothing but Python's standard library, util-linux and, for NTFS, ntfs-3g.
options:
  volume_id:
    description: Id of the EBS volume.
    type: str
    required: true
  snapshot_id:
    description: Id of the snapshot that the volume was made from. It is handed on in the result.
    type: str
    default: ""
  role:
    description:
      - V(evidence) is never written.
      - V(journal) is a throw-away volume of the same snapshot. The journals of O(partitions) are applied, once, while
        it is writable for a moment; then it is write-protected and mounted as evidence is. Its other partitions are
        left out.
    type: str
    choices: [evidence, journal]
    default: evidence
  journal_of:
    description:
      - The evidence volume that O(role=journal) shows with its journals applied. Its mount points are named after it.
    type: str
    default: ""
  partitions:
    description: Numbers of the partitions whose journals are applied with O(role=journal).
    type: list
    elements: int
    default: []
  state:
    description:
      - V(mounted) write-protects, identifies and mounts.
      - V(unmounted) takes the mounts and their folders away. The disk stays write-protected.
    type: str
    choices: [mounted, unmounted]
    default: mounted
  base:
    description: Folder below which the volume gets a folder of its own.
    type: path
    default: /evidence
  timeout:
    description: Seconds to wait for the disk, and again for the devices of its partitions.
    type: int
    default: 30
attributes:
  check_mode:
    description: Says whether anything would change. A disk that is not write-protected yet is not read.
    support: full
  diff_mode:
    description: There is nothing to show a difference of.
    support: none
"""

EXAMPLES = r"""
- name: Mount the evidence
  dfir.aws.evidence_volume:
    volume_id: vol-0123456789abcdef0
    snapshot_id: snap-0123456789abcdef0
  register: evidence

- name: See what only its journal knows, on a second volume of the same snapshot
  dfir.aws.evidence_volume:
    volume_id: vol-0aaaaaaaaaaaaaaaa
    role: journal
    journal_of: vol-0123456789abcdef0
    partitions: [1]
    base: /journal

- name: Take it away again
  dfir.aws.evidence_volume:
    volume_id: vol-0123456789abcdef0
    state: unmounted
"""

RETURN = r"""
device_missing:
  description: The task failed because the disk is not there (yet).
  returned: failure
  type: bool
volume:
  description: The disk and what is on it. No label and no path of the evidence is part of it.
  returned: success, except for a disk in check mode that is not write-protected yet (then without partitions)
  type: dict
  contains:
    volume_id:
      description: Id of the volume.
      type: str
    snapshot_id:
      description: Id of its snapshot, as given.
      type: str
    role:
      description: As given.
      type: str
    journal_of:
      description: As given.
      type: str
    device:
      description: Its block device.
      type: str
    by_id:
      description: The name it was found by.
      type: str
    size_bytes:
      description: Its size.
      type: int
    read_only:
      description: Whether disk and partitions are write-protected.
      type: bool
    table:
      description: Kind of partition table, V(none) without one.
      type: str
    partitions:
      description: One entry a partition; number 0 is a file system, or what else there is, on the whole disk.
      type: list
      elements: dict
      contains:
        number:
          description: Its number.
          type: int
        name:
          description: V(p) and the number.
          type: str
        device:
          description: Its block device.
          type: str
        by_id:
          description: The name it was found by.
          type: str
        start_bytes:
          description: Where it begins.
          type: int
        size_bytes:
          description: Its size.
          type: int
        type:
          description: What blkid calls its content; empty when it knows none.
          type: str
        kind:
          description: One of V(filesystem), V(lvm), V(luks), V(bitlocker), V(swap), V(raid), V(bios_boot), V(unknown).
          type: str
        uuid:
          description: UUID of the file system.
          type: str
        mounted:
          description: Whether it is mounted.
          type: bool
        mount_point:
          description: Where it is mounted.
          type: str
        options:
          description: The options that it was mounted with.
          type: str
        journal_dirty:
          description: Whether its journal holds changes that were never applied; null when that cannot be told.
          type: bool
        reason:
          description: Why it is not mounted.
          type: str
        member:
          description:
            - For a member of a set its C(kind) (V(lvm), V(raid), V(btrfs)), the C(set)'s id, the C(own) place in it,
              the places C(wanted), their C(count) and a C(serial) number. Null for all others.
          type: dict
"""

import re
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.dfir.aws.plugins.module_utils.evidence_disk import (
    Disk,
    DiskFinder,
    EvidenceError,
    Examiner,
    Partition,
    Tools,
)
from ansible_collections.dfir.aws.plugins.module_utils.evidence_journal import device_reader, journal_dirty
from ansible_collections.dfir.aws.plugins.module_utils.evidence_mount import REPLAY, Mounter
from ansible_collections.dfir.aws.plugins.module_utils.evidence_sets import member_of

VOLUME_ID = r"vol-[0-9a-f]{8}(?:[0-9a-f]{9})?"


def facts(disk: Disk, options: dict[str, Any], *, read_only: bool) -> dict[str, Any]:
    """The module's result for one disk."""
    return {
        "volume_id": disk.volume_id, "snapshot_id": options["snapshot_id"], "role": options["role"],
        "journal_of": options["journal_of"], "device": disk.device, "by_id": disk.by_id,
        "size_bytes": disk.size_bytes, "read_only": read_only, "table": disk.table,
        "partitions": [partition.facts() for partition in disk.partitions],
    }


def mounted(module: AnsibleModule, examiner: Examiner, mounter: Mounter) -> tuple[bool, dict[str, Any]]:
    """Bring the volume to the state `mounted`."""
    options = module.params
    disk = examiner.finder.wait(options["volume_id"], options["timeout"])
    mounter.refuse_foreign_mounts(disk)
    if module.check_mode and examiner.writable(disk):
        return True, facts(disk, options, read_only=False)
    changed = examiner.protect(disk) > 0
    changed = examiner.identify(disk, options["timeout"]) > 0 or changed
    mounter.refuse_foreign_mounts(disk)
    if options["role"] == "journal":
        disk.partitions = [partition for partition in disk.partitions if partition.number in options["partitions"]]
    for partition in disk.partitions:
        if partition.device:
            partition.member = member_of(partition.type, device_reader(partition.device), partition.size_bytes)
        if not mounter.wanted(partition):
            continue
        partition.journal_dirty = journal_dirty(partition.type, device_reader(partition.device))
        if not mounter.readable(partition):
            continue
        if module.check_mode and not mounter.is_mounted(partition):
            changed = True
        elif options["role"] == "evidence" or replayed(disk, partition, examiner, mounter):
            changed = mounter.mount(partition) or changed
    return changed, facts(disk, options, read_only=not examiner.writable(disk))


def replayed(disk: Disk, partition: Partition, examiner: Examiner, mounter: Mounter) -> bool:
    """Whether the journal of a partition of the throw-away volume is applied, by now or before."""
    if not mounter.is_mounted(partition) and partition.journal_dirty is not False and partition.type in REPLAY and (
            not mounter.apply(disk, partition, examiner.tools)):
        return False
    partition.journal_dirty = False
    return True


def unmounted(module: AnsibleModule, examiner: Examiner, mounter: Mounter) -> tuple[bool, dict[str, Any]]:
    """Bring the volume to the state `unmounted`. The disk need not be there any more."""
    changed = mounter.present() if module.check_mode else mounter.unmount_all()
    volume_id = module.params["volume_id"]
    disk = examiner.finder.find(volume_id)
    read_only = disk is not None and not examiner.writable(disk)
    return changed, facts(disk or Disk(volume_id, "", ""), module.params, read_only=read_only)


def main() -> None:
    """Parse, act, report."""
    module = AnsibleModule(
        argument_spec={
            "volume_id": {"type": "str", "required": True},
            "snapshot_id": {"type": "str", "default": ""},
            "role": {"type": "str", "choices": ["evidence", "journal"], "default": "evidence"},
            "journal_of": {"type": "str", "default": ""},
            "partitions": {"type": "list", "elements": "int", "default": []},
            "state": {"type": "str", "choices": ["mounted", "unmounted"], "default": "mounted"},
            "base": {"type": "path", "default": "/evidence"},
            "timeout": {"type": "int", "default": 30},
        },
        required_if=[("role", "journal", ["journal_of"])],
        supports_check_mode=True,
    )
    volume_id, journal_of = module.params["volume_id"], module.params["journal_of"]
    for name, value in (("volume_id", volume_id), ("journal_of", journal_of)):
        if not re.fullmatch(VOLUME_ID, value) and (name == "volume_id" or value):
            module.fail_json(msg=f"{name} {value!r} is no EBS volume id: it must be vol- and 8 or 17 hex digits")
    if (module.params["role"] == "journal") != bool(journal_of) or journal_of == volume_id:
        module.fail_json(msg="A volume of role journal, and no other, names another volume in journal_of: the evidence "
                             "whose journals it shows.")

    def run(command: list[str]) -> tuple[int, str, str]:
        return module.run_command(command, environ_update={"LC_ALL": "C"})

    examiner = Examiner(DiskFinder(), Tools(run))
    mounter = Mounter(run, Path(module.params["base"]), journal_of or volume_id)
    act = mounted if module.params["state"] == "mounted" else unmounted
    try:
        changed, volume = act(module, examiner, mounter)
    except EvidenceError as error:
        module.fail_json(msg=str(error), device_missing=error.device_missing)
    except OSError as error:
        module.fail_json(msg=f"{volume_id}: the host refused: {error}", device_missing=False)
    module.exit_json(changed=changed, volume=volume)


if __name__ == "__main__":
    main()
