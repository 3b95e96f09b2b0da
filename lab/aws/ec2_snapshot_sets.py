# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""CreateSnapshots: all volumes of an instance in one call, or none of them.

They are taken one after the other with the models locked. A host that writes meanwhile is not held, so that the one
moment which AWS promises for all of them is the lab's only where nothing writes.
"""

from __future__ import annotations

from typing import Any

from . import moto_app  # noqa: F401  first: it sets what moto reads while it is imported

# isort: split
from moto.core.responses import ActionResult
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.responses.elastic_block_store import ElasticBlockStore


def chosen_volumes(backend: Any, spec: dict[str, Any]) -> list[str]:
    """The volumes that an InstanceSpecification means, refused as AWS refuses."""
    instance = backend.get_instance(spec.get("InstanceId") or "")
    if instance.state not in ("pending", "running", "stopping", "stopped"):
        raise EC2ClientError("IncorrectInstanceState", f"The instance '{instance.id}' is '{instance.state}'.")
    attached = {block.volume_id: device for device, block in instance.block_device_mapping.items()}
    root = next((volume for volume, device in attached.items() if device == instance.root_device_name), "")
    excluded = list(spec.get("ExcludeDataVolumeIds") or [])
    foreign = [volume for volume in excluded if volume not in attached or volume == root]
    if foreign:
        raise EC2ClientError("InvalidParameterValue", f"{', '.join(foreign)} cannot be excluded: no data volume of "
                                                      f"'{instance.id}'.")
    without_root = str(spec.get("ExcludeBootVolume", False)).lower() == "true"
    chosen = [volume for volume in attached if volume not in excluded and not (without_root and volume == root)]
    if not chosen:
        raise EC2ClientError("InvalidParameterCombination", f"No volume of '{instance.id}' is left to snapshot.")
    for volume in chosen:
        if getattr(backend.get_volume(volume), "lab_root", False):
            raise EC2ClientError("LabNotImplemented", f"{volume} is the root disk of a lab host, which is a folder and "
                                                      "has no blocks; ask with ExcludeBootVolume.")
    return chosen


def create_snapshots(self: Any) -> ActionResult:
    """CreateSnapshots, with tags and description in the call."""
    self.error_on_dryrun()
    backend = self.ec2_backend
    tags = self._parse_tag_specification("snapshot").get("snapshot", {})
    source = self._get_param("CopyTagsFromSource")
    made = []
    for volume in chosen_volumes(backend, self._get_param("InstanceSpecification", {}) or {}):
        snapshot = backend.create_snapshot(volume, self._get_param("Description") or "")
        snapshot.add_tags({**(backend.tags.get(volume, {}) if source == "volume" else {}), **tags})
        made.append(snapshot)
    return ActionResult({"Snapshots": made})


def install() -> None:
    """Put it in the place of moto's."""
    ElasticBlockStore.create_snapshots = create_snapshots  # type: ignore[method-assign]
