# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures of tests of AWS-side modules: an AWS that answers over HTTP, and a way to run a module."""

from __future__ import annotations

import functools
import importlib
import json
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from ansible.module_utils.testing import patch_module_args

from tests.plain_aws import PlainAws, plain_aws

REGION = "eu-west-1"
REQUEST = "0123456789abcdef"
TAGS = {"dfir:request": REQUEST, "dfir:expires": "2026-12-01T00:00:00Z", "Name": f"dfir-{REQUEST}"}
KEYS = {"access_key": "test", "secret_key": "test", "region": REGION}
ED25519 = ("ssh-ed25519", "AAAAC3NzaC1lZDI1NTE5AAAAIJ0Zb8cLDeuEZkWBBBlHq0hNjtG7zS4kf6kV0WJQ1F7u")
# One session for all tests: reading the services' models takes longer than the calls.
SESSION = boto3.Session(aws_access_key_id="test", aws_secret_access_key="test", region_name=REGION)
Run = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def moto() -> Iterator[PlainAws]:
    """An AWS of these tests' own."""
    with plain_aws() as running:
        yield running


@pytest.fixture(scope="module")
def endpoint(moto: PlainAws) -> str:
    """Where it answers."""
    return moto.url


@pytest.fixture
def aws(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """boto3 clients of a fresh account."""
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)

    @functools.lru_cache
    def client(service: str, region: str = REGION) -> Any:
        return SESSION.client(service, region_name=region, endpoint_url=endpoint)

    urllib.request.urlopen(urllib.request.Request(f"{endpoint}/moto-api/reset", method="POST")).read()
    yield client


@pytest.fixture
def run(endpoint: str, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a module in this process, as Ansible would, and return what it prints."""

    def call(module_name: str, /, check: bool = False, **arguments: Any) -> dict[str, Any]:
        module = importlib.import_module(f"ansible_collections.dfir.aws.plugins.modules.{module_name}")
        capsys.readouterr()
        given = {**KEYS, "endpoint_url": endpoint, "_ansible_check_mode": check, **arguments}
        with patch_module_args(given), pytest.raises(SystemExit):
            module.main()
        return json.loads(capsys.readouterr().out)

    return call


@pytest.fixture
def snapshot(aws: Callable[..., Any]) -> str:
    ec2 = aws("ec2")
    volume = ec2.create_volume(AvailabilityZone=f"{REGION}a", Size=8)["VolumeId"]
    return ec2.create_snapshot(VolumeId=volume)["SnapshotId"]


@pytest.fixture
def instance(aws: Callable[..., Any]) -> str:
    ec2 = aws("ec2")
    image = ec2.register_image(Name="debian-12-amd64-1", RootDeviceName="/dev/xvda", Architecture="x86_64")["ImageId"]
    subnet = ec2.describe_subnets(Filters=[{"Name": "availability-zone", "Values": [f"{REGION}a"]}])["Subnets"][0]
    answer = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1, SubnetId=subnet["SubnetId"], TagSpecifications=[
        {"ResourceType": "instance", "Tags": [{"Key": key, "Value": value} for key, value in TAGS.items()]}])
    return answer["Instances"][0]["InstanceId"]
