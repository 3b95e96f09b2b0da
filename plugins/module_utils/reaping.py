# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Remove one thing of a request, after a last look at its tags.

Between a report and a removal a person may have changed a tag on purpose, and ids may stand in a list that is old. So
the tags are read again right before, and only what still carries them as they were told is removed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .outlived import why_not_ours
from .resources import GONE, is_absent, tags_of

# The thing is held by something that is about to go: AWS lets go of it a moment later.
PASSING = ("DependencyViolation", "VolumeInUse", "DeleteConflict")
Client = Callable[[str], Any]


class Refused(Exception):
    """One sentence that says why something is not removed."""


class Gone(Exception):
    """It is not there any more."""


class Thing:
    """One thing at AWS: how its tags are read, and how it is removed."""

    def __init__(self, kind: str, identifier: str, client: Client, iam_path: str = "/dfir/") -> None:
        self.kind, self.id, self.iam_path = kind, identifier, iam_path
        self._client = client
        self._name, _slash, self._part = identifier.partition("/")

    def remove(self, tags: Mapping[str, str], *, check_mode: bool) -> str:
        """Remove it if it still carries these tags; its state before."""
        look, remove = self._ways()[self.kind]
        try:
            seen = look()
        except Exception as error:
            if is_absent(error):
                raise Gone from error
            raise
        foreign = why_not_ours(seen, self.iam_path)
        if foreign:
            raise Refused(f"The {self.kind} {self.id} is left alone: {foreign}.")
        changed = sorted(name for name in set(tags) | set(seen["tags"]) if tags.get(name) != seen["tags"].get(name))
        if changed:
            raise Refused(f"The {self.kind} {self.id} is left alone: its tags changed meanwhile "
                          f"({', '.join(changed)}).")
        if not check_mode:
            try:
                remove()
            except Exception as error:
                if is_absent(error):
                    raise Gone from error
                raise
        return str(seen.get("state", ""))

    def _ways(self) -> dict[str, tuple[Callable[[], dict[str, Any]], Callable[[], Any]]]:
        """How each kind is looked at and removed. What is only part of a role or profile is looked at as that."""

        def ec2() -> Any:
            return self._client("ec2")

        def iam() -> Any:
            return self._client("iam")

        return {
            "instance": (self._instance, lambda: ec2().terminate_instances(InstanceIds=[self.id])),
            "volume": (self._volume, lambda: ec2().delete_volume(VolumeId=self.id)),
            "security-group": (self._group, lambda: ec2().delete_security_group(GroupId=self.id)),
            "role-in-profile": (self._profile, lambda: iam().remove_role_from_instance_profile(
                InstanceProfileName=self._name, RoleName=self._part)),
            "instance-profile": (self._profile, lambda: iam().delete_instance_profile(InstanceProfileName=self._name)),
            "role-policy": (self._role, lambda: iam().delete_role_policy(RoleName=self._name, PolicyName=self._part)),
            "role": (self._role, lambda: iam().delete_role(RoleName=self._name)),
        }

    def _instance(self) -> dict[str, Any]:
        found = self._client("ec2").describe_instances(InstanceIds=[self.id])["Reservations"]
        # One that is on its way out needs nobody to send it there.
        if not found or found[0]["Instances"][0]["State"]["Name"] in (*GONE, "shutting-down"):
            raise Gone
        described = found[0]["Instances"][0]
        return {"tags": tags_of(described), "state": described["State"]["Name"]}

    def _volume(self) -> dict[str, Any]:
        described = self._client("ec2").describe_volumes(VolumeIds=[self.id])["Volumes"][0]
        if described["State"] in (*GONE, "deleting"):
            raise Gone
        return {"tags": tags_of(described), "state": described["State"]}

    def _group(self) -> dict[str, Any]:
        return {"tags": tags_of(self._client("ec2").describe_security_groups(GroupIds=[self.id])["SecurityGroups"][0])}

    def _profile(self) -> dict[str, Any]:
        found = self._client("iam").get_instance_profile(InstanceProfileName=self._name)["InstanceProfile"]
        if self._part and self._part not in [role["RoleName"] for role in found.get("Roles") or []]:
            raise Gone
        return self._of_iam(found)

    def _role(self) -> dict[str, Any]:
        return self._of_iam(self._client("iam").get_role(RoleName=self._name)["Role"])

    def _of_iam(self, found: Mapping[str, Any]) -> dict[str, Any]:
        return {"tags": tags_of(found), "region": "global", "path": found["Path"], "name": self._name}
