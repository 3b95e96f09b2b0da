# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an AWS account has before anybody calls: its users' keys, AWS' own images and public parameters.

Nothing of this can be made over the public API (keys are chosen by AWS, images belong to others), hence model level.
"""

from __future__ import annotations

import json
from datetime import datetime
from types import SimpleNamespace
from typing import Any

from lab.config import MEMBER

from . import moto_app

# isort: split
from moto.core.utils import utcnow
from moto.ec2.models.amis import Ami
from moto.ec2.utils import random_snapshot_id
from moto.ssm.models import Parameter

CONTROLLER = ("dfir-controller", "AKIADFIRLABCONTROLLER", "lab-controller-secret-not-a-secret-0000000")
CUSTODIAN = ("dfir-custodian", "AKIADFIRLABCUSTODIAN", "lab-custodian-secret-not-a-secret-000000000")
ADMIN = ("lab-admin", "AKIADFIRLABADMIN0000", "lab-admin-secret-not-a-secret-000000000000")
MEMBER_ADMIN = ("lab-admin", "AKIADFIRLABMEMBER000", "lab-member-admin-secret-not-a-secret-000000")
EVERYTHING = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
REGIONS = ("eu-west-1", "us-east-1")
DEBIAN_OWNER = "136693071363"
AMAZON_OWNER = "137112412989"
DEBIAN_NAME = "debian-12-amd64-20260901-2222"
AMAZON_NAME = "al2023-ami-2023.9.20260901.0-kernel-6.12-x86_64"
DEBIAN_PARAMETER = "/aws/service/debian/release/12/latest/amd64"
AMAZON_PARAMETER = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"
# Ids are per region, as on AWS, and fixed, so that notes and tests can name them.
DEBIAN_IDS = {"eu-west-1": "ami-0dfa12de0b1a00001", "us-east-1": "ami-0dfa12de0b1a00002"}
AMAZON_IDS = {"eu-west-1": "ami-0a20230000a1a0001", "us-east-1": "ami-0a20230000a1a0002"}


def user(name: str, key_id: str, secret: str, policy: dict[str, Any] | None = None) -> None:
    """A user of the acting account with a fixed access key."""
    iam = moto_app.iam()
    if name not in iam.users:
        iam.create_user("us-east-1", name)
    person = iam.users[name]
    if not any(key.access_key_id == key_id for key in person.access_keys):
        key = iam.create_access_key(name)
        iam.access_keys.pop(key.physical_resource_id, None)
        key.access_key_id, key.secret_access_key = key_id, secret
        iam.access_keys[key_id] = key
    if policy is not None:
        iam.put_user_policy(name, "lab", json.dumps(policy))


class _Owner:
    """Stands in for the backend while moto makes an image: its root snapshot is its owner's, so it is none of ours."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def create_volume(self, *_: Any, **__: Any) -> Any:
        return SimpleNamespace(id="")

    def create_snapshot(self, *_: Any, **__: Any) -> Any:
        return SimpleNamespace(id=random_snapshot_id())

    def delete_volume(self, *_: Any) -> None:
        return None


class ForeignImage(Ami):
    """An image of another owner, with a root disk as these images have it."""

    def __init__(self, backend: Any, image_id: str, **details: Any) -> None:
        super().__init__(_Owner(backend), image_id, **details)
        self.ec2_backend = backend

    @property
    def block_device_mappings(self) -> list[dict[str, Any]]:
        return [{"DeviceName": self.root_device_name, "Ebs": {
            "SnapshotId": self.ebs_snapshot.id, "VolumeSize": 8, "DeleteOnTermination": True, "VolumeType": "gp3",
            "Encrypted": False}}]


def image(region: str, image_id: str, name: str, owner: str, *, alias: str | None, description: str) -> None:
    """An image of somebody else's."""
    backend = moto_app.ec2(region)
    if image_id not in backend.amis:
        backend.amis[image_id] = ForeignImage(
            backend, image_id, name=name, description=description, owner_id=owner, owner_alias=alias, public=True,
            virtualization_type="hvm", architecture="x86_64", creation_date=datetime(2026, 9, 1, 22, 22),
            image_location=f"{owner}/{name}", hypervisor="xen", root_device_type="ebs", root_device_name="/dev/xvda",
            region_name=region)


def parameter(region: str, name: str, value: str) -> None:
    """A public parameter, which only AWS can write."""
    known = moto_app.ssm(region)._parameters
    known.latest_amis_loaded = True  # moto's own list names images that do not exist here
    if not known.get(name):
        known[name].append(Parameter(  # type: ignore[abstract]
            account_id="", name=name, value=value, parameter_type="String", description="", allowed_pattern=None,
            keyid=None, last_modified_date=utcnow(), version=1, data_type="aws:ec2:image"))


def _public() -> None:
    """What AWS and image makers give every account."""
    for region in REGIONS:
        image(region, DEBIAN_IDS[region], DEBIAN_NAME, DEBIAN_OWNER, alias=None,
              description="Debian 12 (20260901-2222)")
        image(region, AMAZON_IDS[region], AMAZON_NAME, AMAZON_OWNER, alias="amazon",
              description="Amazon Linux 2023 AMI 2023.9.20260901.0 x86_64 HVM kernel-6.12")
        parameter(region, DEBIAN_PARAMETER, DEBIAN_IDS[region])
        parameter(region, AMAZON_PARAMETER, AMAZON_IDS[region])


def prepare() -> None:
    """Fill new accounts."""
    with moto_app.MODELS:
        user(*CONTROLLER)
        user(*CUSTODIAN)
        user(*ADMIN, policy=EVERYTHING)
        _public()
        with moto_app.acting(MEMBER):
            user(*MEMBER_ADMIN, policy=EVERYTHING)
            _public()
