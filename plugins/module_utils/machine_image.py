# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which machine image and instance type an analysis host can be made of, and why another one cannot."""

from __future__ import annotations

import re
from typing import Any

try:
    from botocore.exceptions import ClientError
except ImportError:  # AnsibleAWSModule says so in a sentence
    ClientError = Exception  # type: ignore[assignment,misc]

AMAZON_LINUX = re.compile(r"(al20\d\d|amzn\d?)-ami-.*")


class Refused(Exception):
    """One sentence that says why not, and what to do."""


def image_id_of(params: dict[str, Any], ssm: Any) -> str | None:
    """The id that was given, or that the parameter holds."""
    if params["image_id"]:
        return str(params["image_id"])
    if not params["parameter"]:
        return None
    try:
        return str(ssm().get_parameter(Name=params["parameter"])["Parameter"]["Value"])
    except ClientError as error:
        if error.response["Error"]["Code"] != "ParameterNotFound":
            raise
        raise Refused(f"There is no SSM parameter {params['parameter']} in this region: "
                      "give another one, or an image id.") from error


def find_image(ec2: Any, params: dict[str, Any], image_id: str | None) -> dict[str, Any]:
    """The image as AWS describes it."""
    if image_id:
        found = ec2.describe_images(Filters=[{"Name": "image-id", "Values": [image_id]}])["Images"]
        where = f"image {image_id}"
    else:
        found = ec2.describe_images(Owners=[params["owner"]],
                                    Filters=[{"Name": "name", "Values": [params["name"]]}])["Images"]
        where = f"image named {params['name']} of account {params['owner']}"
    available = [image for image in found if image.get("State", "available") == "available"]
    if not available:
        raise Refused(f"There is no available {where} in this region: give another one.")
    return max(available, key=lambda image: (image.get("CreationDate", ""), image["ImageId"]))


def check_image(image: dict[str, Any], instance_type: str, architectures: list[str]) -> None:
    """Refuse what cannot work, before anything is launched."""
    name = f"{image['ImageId']} ({image.get('Name', 'without a name')})"
    if AMAZON_LINUX.fullmatch(str(image.get("Name", ""))):
        raise Refused(f"Image {name} is Amazon Linux, which has no podman, no btrfs, no NTFS and no cron: "
                      "take an official Debian or Ubuntu image.")
    if str(image.get("Platform", "")).lower() == "windows":
        raise Refused(f"Image {name} is Windows: take an official Debian or Ubuntu image.")
    if image.get("RootDeviceType") == "instance-store":
        raise Refused(f"Image {name} has no EBS root volume: take an official Debian or Ubuntu image.")
    if image["Architecture"] not in architectures:
        raise Refused(f"Image {name} is made for {image['Architecture']}, instance type {instance_type} has "
                      f"{', '.join(architectures)}: choose the other type or the other image.")


def described_type(ec2: Any, instance_type: str) -> dict[str, Any]:
    """An instance type as AWS describes it."""
    try:
        found = ec2.describe_instance_types(InstanceTypes=[instance_type])["InstanceTypes"]
    except ClientError as error:
        if error.response["Error"]["Code"] != "InvalidInstanceType":
            raise
        found = []
    if not found:
        raise Refused(f"Instance type {instance_type} is not offered in this region: choose another one.")
    return dict(found[0])


def type_facts(described: dict[str, Any]) -> dict[str, Any]:
    """What is asked of an instance type: its size, and what it can boot."""
    return {
        "name": described["InstanceType"], "vcpus": int(described["VCpuInfo"]["DefaultVCpus"]),
        "memory_mib": int(described["MemoryInfo"]["SizeInMiB"]),
        "architectures": list(described["ProcessorInfo"]["SupportedArchitectures"]),
    }


def facts(image: dict[str, Any]) -> dict[str, Any]:
    """What the launch needs to know."""
    root = image.get("RootDeviceName") or "/dev/xvda"
    sizes = [item["Ebs"].get("VolumeSize") for item in image.get("BlockDeviceMappings") or []
             if item.get("DeviceName") == root and "Ebs" in item]
    return {
        "image_id": image["ImageId"], "name": image.get("Name", ""), "owner_id": image.get("OwnerId", ""),
        "architecture": image["Architecture"], "root_device_name": root, "root_volume_gib": int((sizes or [0])[0] or 8),
    }
