# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """What the modules over the block engine have in common."""

    DOCUMENTATION = r"""
options:
  ebs_endpoint_url:
    description:
      - Address of EBS direct, for instance of a VPC endpoint.
      - Default, O(endpoint_url) where it is given, or what AWS calls it in the region.
    type: str
  fips:
    description: Use the FIPS endpoint of EBS direct.
    type: bool
    default: false
  rate:
    description:
      - Requests for blocks a second at most. AWS lets one snapshot have 1,000, which cannot be raised.
      - Where several hosts read snapshots at the same time, their rates together must stay below the account's quota.
    type: float
    default: 980
"""

    WORKER = r"""
options:
  timeout:
    description: Seconds after which the work is stopped and the task fails. What was done is kept for the next run.
    type: int
    default: 604800
  lease_file:
    description: Set by the action plugin. A file that is touched as long as somebody waits.
    type: path
  progress_file:
    description: Set by the action plugin. A file for the progress.
    type: path
notes:
  - Shows its progress in the job's output while it runs.
  - When ansible-playbook ends, for whatever reason, the work ends too, within 10 seconds where it runs on the same
    machine, else within 60.
"""

    CLAIM = r"""
options:
  claim:
    description:
      - The claim under which a host works, see M(dfir.aws.ebs_image_claim). It is kept from running out while the
        module works, which ends when somebody else has taken it over. Needs C(s3:GetObject) and C(s3:PutObject) on
        C(claims/*).
    type: dict
    suboptions:
      bucket:
        description: The bucket with the claims.
        type: str
        required: true
      region:
        description: Its region, where it is not O(region).
        type: str
      incident:
        description: The incident.
        type: str
        required: true
      snapshot_id:
        description: The snapshot.
        type: str
        required: true
      holder:
        description: Who holds the claim.
        type: str
        required: true
"""

    # What is looked into without an instance.
    SOURCE = r"""
options:
  snapshot_id:
    description: The snapshot. It must be completed, not public, not archived.
    type: str
  image:
    description: A raw image, a block device, or the first file of an E01 instead of a snapshot.
    type: path
  limit_blocks:
    description: Blocks of 512 KiB that may be fetched of a snapshot in all. V(0) is no limit.
    type: int
    default: 6000
  cache:
    description:
      - Keep what was fetched in the partial image of this name. A later M(dfir.aws.ebs_snapshot_image) goes on from
        there.
    type: path
  connections:
    description: Connections to EBS direct.
    type: int
    default: 16
  describe:
    description: Ask EC2 what the snapshot is, for clear refusals.
    type: bool
    default: true
requirements:
  - dissect.volume, dissect.extfs, dissect.xfs, dissect.btrfs, dissect.ntfs, dissect.fat; dissect.evidence for E01;
    dissect.regf and dissect.eventlog for records of Windows
notes:
  - "Needed: C(ebs:ListSnapshotBlocks), C(ebs:GetSnapshotBlock); C(kms:Decrypt) on the key of an encrypted snapshot;
    with O(describe), C(ec2:DescribeSnapshots)."
"""

    # What is encrypted in it, and opened.
    KEYS = r"""
options:
  key_file:
    description:
      - A file with keys to what is encrypted with LUKS or BitLocker, one a line. Each is a passphrase, a recovery
        password of BitLocker, or C(file:) and the path of a key file (of BitLocker, a C(.bek)). C(p2=) before it says
        for which partition it is. Without, it is tried on all.
      - What it says is neither logged nor kept. A volume that stays closed is said, and the rest goes on.
      - Needs the Python packages C(dissect.fve) and C(argon2-cffi).
    type: path
"""
