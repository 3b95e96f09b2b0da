#!/usr/bin/python
# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Attach a volume and see to it that it goes with its instance."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: ec2_volume_attachment
version_added: 0.1.0
short_description: Attach a volume to an instance and keep its DeleteOnTermination as wanted
description:
  - Attaches a volume to a running instance, or detaches it.
  - Reconciles C(DeleteOnTermination), which is false on every volume that is attached later, and which
    M(amazon.aws.ec2_vol) leaves alone on one that is attached already. A host that ends by itself leaks such volumes.
  - Recognizes a volume with an AWS Marketplace product code before it tries, because such a volume attaches to a
    stopped instance only. Those of a snapshot that is somebody else's are shown on the volume.
options:
  volume_id:
    description: The volume.
    type: str
    required: true
  instance_id:
    description: The instance. Needed with O(state=present).
    type: str
  device_name:
    description:
      - The name that AWS keeps for the mapping. The instance shows the volume under its own names.
      - By default the first one from C(/dev/sdf) to C(/dev/sdz), then from C(/dev/xvdca) to C(/dev/xvdcg), that is not
        taken.
    type: str
  delete_on_termination:
    description: Whether the volume is to be deleted when the instance terminates.
    type: bool
    default: true
  state:
    description: Whether the volume is to be attached.
    type: str
    choices: [present, absent]
    default: present
  settle:
    description:
      - For how many seconds to wait until AWS shows the mapping, so that its C(DeleteOnTermination) can be set.
      - When that is not enough RV(settled) is false. Wait with M(dfir.aws.aws_wait) and call again.
    type: float
    default: 8
attributes:
  check_mode:
    description: Says what would be attached or changed.
    support: full
  diff_mode:
    description: Not done.
    support: none
  idempotent:
    description: A volume that is attached as wanted is left alone.
    support: full
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
author:
  - The dfir.aws authors (@dfir-aws)
"""

EXAMPLES = r"""
- name: Attach the evidence volume, to be deleted with the host
  dfir.aws.ec2_volume_attachment:
    volume_id: vol-0123456789abcdef0
    instance_id: i-0123456789abcdef0
    region: eu-west-1

- name: Take a volume off
  dfir.aws.ec2_volume_attachment:
    volume_id: vol-0123456789abcdef0
    state: absent
    region: eu-west-1
"""

RETURN = r"""
volume_id:
  description: The volume.
  type: str
  returned: always
instance_id:
  description: The instance that it is attached to, or empty.
  type: str
  returned: always
device_name:
  description: The name that AWS keeps for the mapping.
  type: str
  returned: always
  sample: /dev/sdf
attachment_state:
  description: C(attaching), C(attached), C(busy), C(detaching), C(detached).
  type: str
  returned: always
delete_on_termination:
  description: What AWS says about the attached volume.
  type: bool
  returned: always
settled:
  description: Whether everything is as wanted. If not, the mapping was not visible yet.
  type: bool
  returned: always
"""

import time
from typing import Any

from ansible_collections.dfir.aws.plugins.module_utils import product_codes
from ansible_collections.dfir.aws.plugins.module_utils.aws_module import AwsModule

try:
    from botocore.exceptions import BotoCoreError, ClientError
except ImportError:  # AnsibleAWSModule says so in a sentence
    BotoCoreError = ClientError = Exception

# AWS recommends f to p. A request with many snapshots, each with a second volume for its journals, needs more.
DEVICE_NAMES = [*(f"/dev/sd{letter}" for letter in "fghijklmnopqrstuvwxyz"),
                *(f"/dev/xvdc{letter}" for letter in "abcdefg")]
POLL = 0.5


class Refused(Exception):
    """One sentence that says why not, and what to do."""


class Attachment:
    """A volume and what it is attached to."""

    def __init__(self, ec2: Any, volume_id: str, instance_id: str, *, check_mode: bool) -> None:
        self.ec2, self.volume_id, self.instance_id, self.check_mode = ec2, volume_id, instance_id, check_mode
        self.changed = False
        self.current: dict[str, Any] = {}
        self.volume: dict[str, Any] = {}

    def look(self) -> None:
        """Ask AWS for the volume."""
        self.volume = self.ec2.describe_volumes(VolumeIds=[self.volume_id])["Volumes"][0]
        attached = [item for item in self.volume.get("Attachments") or [] if item.get("State") != "detached"]
        self.current = attached[0] if attached else {}

    @property
    def mapped(self) -> bool:
        """Whether the instance's block devices show the volume; only then can its settings be changed."""
        return self.current.get("State") == "attached"

    def attach(self, device_name: str | None) -> None:
        """Attach it, unless it is."""
        if self.current:
            if self.current["InstanceId"] != self.instance_id:
                raise Refused(f"Volume {self.volume_id} is attached to {self.current['InstanceId']}, not to "
                              f"{self.instance_id}: detach it there first.")
            return
        instance = self._instance()
        self._refuse_unless_possible(instance)
        taken = {item["DeviceName"] for item in instance.get("BlockDeviceMappings") or []}
        free = [name for name in DEVICE_NAMES if name not in taken]
        if not device_name and not free:
            raise Refused(f"Instance {self.instance_id} has no device name left between {DEVICE_NAMES[0]} and "
                          f"{DEVICE_NAMES[-1]}: detach a volume first.")
        self.changed = True
        self.current = {"InstanceId": self.instance_id, "Device": device_name or free[0], "State": "attaching"}
        if not self.check_mode:
            self.ec2.attach_volume(VolumeId=self.volume_id, InstanceId=self.instance_id, Device=self.current["Device"])

    def _instance(self) -> dict[str, Any]:
        found = self.ec2.describe_instances(InstanceIds=[self.instance_id])["Reservations"]
        return found[0]["Instances"][0]

    def _refuse_unless_possible(self, instance: dict[str, Any]) -> None:
        state = instance["State"]["Name"]
        if state not in ("running", "stopped"):
            raise Refused(f"Instance {self.instance_id} is {state}: a volume can be attached to a running one only.")
        zone = instance["Placement"]["AvailabilityZone"]
        if zone != self.volume["AvailabilityZone"]:
            raise Refused(f"Volume {self.volume_id} lies in {self.volume['AvailabilityZone']}, instance "
                          f"{self.instance_id} in {zone}: create the volume in the instance's zone.")
        if self.volume["State"] != "available":
            raise Refused(f"Volume {self.volume_id} is {self.volume['State']}, not available: wait for it first.")
        codes = self._product_codes() if state == "running" else []
        if codes:
            raise Refused(product_codes.refusal(f"Volume {self.volume_id}", codes))

    def _product_codes(self) -> list[str]:
        """Product codes of the snapshot that the volume was made from; of the volume, where the snapshot is foreign."""
        snapshot = self.volume.get("SnapshotId")
        if not snapshot:
            return []
        codes = product_codes.of_snapshot(self.ec2, snapshot)
        return (product_codes.of_volume(self.ec2, self.volume_id) if codes is None else codes) or []

    def settle(self, wanted: bool, seconds: float) -> bool:
        """Bring DeleteOnTermination to what is wanted; false when the mapping is not there in time."""
        end = time.monotonic() + seconds
        while not self.mapped and not self.check_mode:
            if time.monotonic() >= end:
                return False
            time.sleep(POLL)
            self.look()
        if bool(self.current.get("DeleteOnTermination")) == wanted:
            return True
        self.changed = True
        if not self.check_mode:
            disk = {"VolumeId": self.volume_id, "DeleteOnTermination": wanted}
            mapping = {"DeviceName": self.current["Device"], "Ebs": disk}
            self.ec2.modify_instance_attribute(InstanceId=self.instance_id, BlockDeviceMappings=[mapping])
            # Asked, not assumed: a host that ends with this unset leaves a volume behind.
            self.look()
            return bool(self.current.get("DeleteOnTermination")) == wanted
        self.current["DeleteOnTermination"] = wanted
        return True

    def detach(self, seconds: float) -> bool:
        """Take it off; false when AWS is still at it after a while."""
        if not self.current:
            return True
        if self.instance_id and self.current["InstanceId"] != self.instance_id:
            return True
        self.changed = True
        if self.check_mode:
            self.current = {}
            return True
        if self.current["State"] != "detaching":
            self.ec2.detach_volume(VolumeId=self.volume_id, InstanceId=self.current["InstanceId"])
        end = time.monotonic() + seconds
        self.look()
        while self.current and time.monotonic() < end:
            time.sleep(POLL)
            self.look()
        return not self.current

    def facts(self) -> dict[str, Any]:
        return {
            "volume_id": self.volume_id, "instance_id": self.current.get("InstanceId", ""),
            "device_name": self.current.get("Device", ""),
            "attachment_state": self.current.get("State", "detached"),
            "delete_on_termination": bool(self.current.get("DeleteOnTermination")),
        }


def main() -> None:
    """Entry point."""
    module = AwsModule(
        argument_spec={
            "volume_id": {"type": "str", "required": True},
            "instance_id": {"type": "str"},
            "device_name": {"type": "str"},
            "delete_on_termination": {"type": "bool", "default": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "settle": {"type": "float", "default": 8},
        },
        required_if=[("state", "present", ["instance_id"])],
        supports_check_mode=True,
    )
    params = module.params
    attachment = Attachment(module.client("ec2"), params["volume_id"], params["instance_id"] or "",
                            check_mode=module.check_mode)
    try:
        attachment.look()
        if params["state"] == "absent":
            settled = attachment.detach(params["settle"])
        else:
            attachment.attach(params["device_name"])
            settled = attachment.settle(params["delete_on_termination"], params["settle"])
    except Refused as refusal:
        module.fail_json(msg=str(refusal), changed=attachment.changed, **attachment.facts())
    except (ClientError, BotoCoreError) as error:
        verb = "detach" if params["state"] == "absent" else "attach"
        module.fail_json_aws(error, msg=f"Cannot {verb} volume {params['volume_id']}", changed=attachment.changed)
    module.exit_json(changed=attachment.changed, settled=settled, **attachment.facts())


if __name__ == "__main__":
    main()
