# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The metadata service, asked over HTTP as hosts ask it."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from botocore.utils import InstanceMetadataFetcher

from lab.contracts import Credentials, InstanceMetadata
from lab.imds import ImdsServer

ME = InstanceMetadata(
    instance_id="i-0123456789abcdef0", account="123456789012", region="eu-west-1", zone="eu-west-1a",
    image_id="ami-0abc", instance_type="m6i.large", private_ip="127.0.0.1", mac="0a:11:22:33:44:55",
    hostname="ip-172-31-5-6.eu-west-1.compute.internal", security_groups=("one", "two"), user_data=b"#cloud-config\n",
    public_keys={"laptop": "ssh-ed25519 AAAA laptop"}, profile_arn="arn:aws:iam::123456789012:instance-profile/dfir/p",
    profile_id="AIPA0", role_name="dfir-role")


class Source:
    """Answers for one instance, which sits on the loopback address."""

    def __init__(self) -> None:
        self.instance: InstanceMetadata | None = ME

    def instance_by_ip(self, address: str) -> InstanceMetadata | None:
        return self.instance if address == "127.0.0.1" else None

    def role_credentials(self, instance_id: str, role_name: str) -> Credentials | None:
        if (instance_id, role_name) != (ME.instance_id, "dfir-role"):
            return None
        return Credentials("ASIAX", "secret", "session", "2026-01-01T00:00:00Z", "2036-01-01T06:00:00Z")


class Client:
    """A host's view of the service."""

    def __init__(self, port: int) -> None:
        self.port = port

    def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, text

    def token(self, seconds: int = 60) -> str:
        status, text = self.ask("/latest/api/token", "PUT", X_aws_ec2_metadata_token_ttl_seconds=str(seconds))
        assert status == 200
        return text

    def get(self, path: str) -> tuple[int, str]:
        return self.ask(path, X_aws_ec2_metadata_token=self.token())


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def imds(source: Source) -> Iterator[Client]:
    server = ImdsServer(source)
    listener = socket.create_server(("127.0.0.1", 0))
    server.start(listener)
    yield Client(listener.getsockname()[1])
    server.close()


def test_p27_no_answer_without_a_token(imds: Client) -> None:
    assert imds.ask("/latest/meta-data/instance-id")[0] == 401
    assert imds.ask("/latest/meta-data/instance-id", X_aws_ec2_metadata_token="made-up")[0] == 401
    assert imds.get("/latest/meta-data/instance-id") == (200, ME.instance_id)


def test_version_1_works_only_where_tokens_are_optional(imds: Client, source: Source) -> None:
    source.instance = replace(ME, tokens_required=False)
    assert imds.ask("/latest/meta-data/instance-id") == (200, ME.instance_id)


def test_token_ends_at_its_time_and_belongs_to_its_instance(imds: Client, source: Source) -> None:
    short = imds.token(1)
    assert imds.ask("/latest/meta-data/mac", X_aws_ec2_metadata_token=short)[0] == 200
    foreign = imds.token(60)
    source.instance = replace(ME, instance_id="i-another")
    assert imds.ask("/latest/meta-data/mac", X_aws_ec2_metadata_token=foreign)[0] == 401
    source.instance = ME
    time.sleep(1.1)
    assert imds.ask("/latest/meta-data/mac", X_aws_ec2_metadata_token=short)[0] == 401


@pytest.mark.parametrize("seconds", ["", "0", "21601", "-1", "x"])
def test_token_wants_a_sensible_time(imds: Client, seconds: str) -> None:
    assert imds.ask("/latest/api/token", "PUT", X_aws_ec2_metadata_token_ttl_seconds=seconds)[0] == 400


def test_open_proxy_gets_nothing(imds: Client) -> None:
    asked = {"X_aws_ec2_metadata_token_ttl_seconds": "60", "X_Forwarded_For": "10.0.0.1"}
    assert imds.ask("/latest/api/token", "PUT", **asked)[0] == 403
    assert imds.ask("/latest/meta-data/", X_Forwarded_For="10.0.0.1")[0] == 403


def test_stranger_and_switched_off(imds: Client, source: Source) -> None:
    source.instance = replace(ME, enabled=False)
    assert imds.ask("/latest/api/token", "PUT", X_aws_ec2_metadata_token_ttl_seconds="60")[0] == 403
    source.instance = None
    assert imds.ask("/latest/api/token", "PUT", X_aws_ec2_metadata_token_ttl_seconds="60")[0] == 404


@pytest.mark.parametrize(("path", "expected"), [
    ("/latest/meta-data/placement/region", "eu-west-1"),
    ("/2021-03-23/meta-data/placement/availability-zone", "eu-west-1a"),
    ("/2009-04-04/meta-data/ami-id", "ami-0abc"),
    ("/latest/meta-data/security-groups", "one\ntwo"),
    ("/latest/meta-data/public-keys/", "0=laptop"),
    ("/latest/meta-data/public-keys/0/", "openssh-key"),
    ("/latest/meta-data/public-keys/0/openssh-key", "ssh-ed25519 AAAA laptop\n"),
    ("/latest/meta-data/iam/security-credentials/", "dfir-role"),
    ("/latest/meta-data/services/partition", "aws"),
    ("/latest/meta-data/network/interfaces/macs/", "0a:11:22:33:44:55/"),
    ("/latest/meta-data/placement/", "availability-zone\nregion"),
    ("/latest/", "meta-data/\ndynamic/\nuser-data"),
    ("/latest/user-data", "#cloud-config\n"),
])
def test_paths(imds: Client, path: str, expected: str) -> None:
    assert imds.get(path) == (200, expected)


@pytest.mark.parametrize("path", ["/latest/meta-data/nothing", "/2008-08-08/meta-data/mac", "/latest/meta-data/mac/x",
                                  "/latest/meta-data/iam/security-credentials/other"])
def test_nothing_there(imds: Client, path: str) -> None:
    assert imds.get(path)[0] == 404


def test_identity_document(imds: Client) -> None:
    document = json.loads(imds.get("/latest/dynamic/instance-identity/document")[1])
    assert (document["accountId"], document["instanceId"], document["region"]) == (
        ME.account, ME.instance_id, ME.region)


def test_no_profile_no_iam_and_no_user_data_no_user_data(imds: Client, source: Source) -> None:
    source.instance = replace(ME, profile_arn=None, role_name=None, user_data=b"")
    assert imds.get("/latest/meta-data/iam/info")[0] == 404
    assert imds.get("/latest/user-data")[0] == 404


def test_botocore_gets_the_role_credentials(imds: Client) -> None:
    fetcher = InstanceMetadataFetcher(num_attempts=1, config={
        "ec2_metadata_service_endpoint": f"http://127.0.0.1:{imds.port}/"})
    found = fetcher.retrieve_iam_role_credentials()
    assert (found["role_name"], found["access_key"], found["token"]) == ("dfir-role", "ASIAX", "session")
