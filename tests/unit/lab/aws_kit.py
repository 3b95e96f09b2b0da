# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's AWS on loopback for tests: the real front, gate, moto, store and EBS direct; hosts are a recorder."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from lab import aws
from lab.aws.account import ADMIN, DEBIAN_IDS
from lab.aws.world import World
from lab.config import Delays
from lab.contracts import HostSpec, Rule
from lab.ebs.api import EbsDirect
from lab.ebs.settings import EbsSettings
from lab.ebs.store import Store
from lab.faults.registry import Registry
from lab.front import Front

REGION, OTHER = "eu-west-1", "us-east-1"
IMAGE = DEBIAN_IDS[REGION]
ZONE = f"{REGION}a"
SESSION = boto3.session.Session()  # one for all: it keeps the service descriptions that it has read


@dataclass
class Recorder:
    """A `HostBackend` that boots nothing and remembers everything; `end` lets a host end as a real one would."""

    specs: dict[str, HostSpec] = field(default_factory=dict)
    attached: dict[str, tuple[str, str, Path]] = field(default_factory=dict)
    rules: dict[str, tuple[Rule, ...]] = field(default_factory=dict)
    forgotten: list[str] = field(default_factory=list)
    refuses_to_boot: bool = False
    _ends: dict[str, Callable[[str, str], None]] = field(default_factory=dict)
    _up: set[str] = field(default_factory=set)

    def boot(self, spec: HostSpec, on_exit: Callable[[str, str], None]) -> None:
        if self.refuses_to_boot:
            raise RuntimeError("no")
        self.specs[spec.instance_id], self._ends[spec.instance_id] = spec, on_exit
        self._up.add(spec.instance_id)

    def end(self, instance_id: str, how: str) -> None:
        self._up.discard(instance_id)
        self._ends[instance_id](instance_id, how)

    def stop(self, instance_id: str, *, hard: bool = False) -> None:
        if instance_id in self._up:
            self.end(instance_id, "stopped")

    def restart(self, instance_id: str) -> None:
        self._up.add(instance_id)

    def forget(self, instance_id: str) -> None:
        self.forgotten.append(instance_id)

    def attach(self, instance_id: str, volume_id: str, device: str, backing: Path) -> None:
        assert backing.exists()
        self.attached[volume_id] = (instance_id, device, backing)

    def detach(self, instance_id: str, volume_id: str) -> None:
        del self.attached[volume_id]

    def console(self, instance_id: str) -> str:
        return f"-----BEGIN SSH HOST KEY KEYS-----\nssh-ed25519 AAAA {instance_id}\n"

    def set_rules(self, instance_id: str, rules: Iterable[Rule]) -> None:
        self.rules[instance_id] = tuple(rules)

    def is_running(self, instance_id: str) -> bool:
        return instance_id in self._up


class Kit:
    """A running AWS. Use `client` for the administrator's, `user` to make somebody with a policy."""

    def __init__(self, folder: Path, *, hosts: Recorder | None = None) -> None:
        self.faults, self.delays, self.hosts = Registry(), Delays(), hosts
        self.store = Store(folder / "blocks")
        self.world = World(self.store, self.faults, hosts=hosts, delays=self.delays)
        self.aws = aws.start(self.world)
        self.ebs = EbsDirect(self.store, self.aws.catalog, self.aws.authorizer, self.faults,
                             EbsSettings(cache_seconds=0.0))
        self.front = Front(self.aws.app, self.ebs, faults=self.faults)
        sock = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{sock.getsockname()[1]}"
        self.front.serve(sock)

    def close(self) -> None:
        self.front.close()
        self.aws.close()

    def client(self, service: str, region: str = REGION, keys: tuple[str, ...] = ADMIN[1:]) -> Any:
        access, secret, *token = keys
        return SESSION.client(  # type: ignore[call-overload]
            service, region_name=region, endpoint_url=self.endpoint, aws_access_key_id=access,
            aws_secret_access_key=secret, aws_session_token=token[0] if token else None,
            config=Config(retries={"max_attempts": 0}, proxies={}, s3={"addressing_style": "path"},
                          signature_version="s3v4" if service == "s3" else "v4"))

    def user(self, name: str, *statements: dict[str, Any]) -> tuple[str, str]:
        """A user with a policy of these statements; their access key."""
        iam = self.client("iam")
        iam.create_user(UserName=name)
        if statements:
            iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=policy(*statements))
        key = iam.create_access_key(UserName=name)["AccessKey"]
        return key["AccessKeyId"], key["SecretAccessKey"]

    def host_role(self, name: str, *statements: dict[str, Any], boundary: str | None = None) -> str:
        """A role in a profile of the same name, for instances."""
        iam = self.client("iam")
        trust = {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
        extra = {"PermissionsBoundary": boundary} if boundary else {}
        role = iam.create_role(RoleName=name, Path="/dfir/", AssumeRolePolicyDocument=policy(trust), **extra)["Role"]
        if statements:
            iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=policy(*statements))
        iam.create_instance_profile(InstanceProfileName=name, Path="/dfir/")
        iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
        return str(role["Arn"])

    def launch(self, **more: Any) -> dict[str, Any]:
        """An instance, once it runs."""
        ec2 = self.client("ec2")
        launched = ec2.run_instances(ImageId=IMAGE, InstanceType="t3.medium", MinCount=1, MaxCount=1, **more)
        instance_id = launched["Instances"][0]["InstanceId"]
        return self.instance(instance_id, "running")

    def instance(self, instance_id: str, state: str) -> dict[str, Any]:
        """An instance, once it is in a state."""
        ec2 = self.client("ec2")

        def look() -> dict[str, Any] | None:
            found = ec2.describe_instances(InstanceIds=[instance_id])["Reservations"][0]["Instances"][0]
            return found if found["State"]["Name"] == state else None

        return eventually(look)

    def session(self, instance: dict[str, Any], role: str) -> tuple[str, str, str]:
        """The keys that the metadata service would give to an instance."""
        given = self.aws.metadata.role_credentials(instance["InstanceId"], role)
        assert given is not None
        return given.access_key, given.secret_key, given.token


def policy(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(action: Any, resource: Any = "*", **condition: Any) -> dict[str, Any]:
    """An Allow statement; conditions as keyword arguments (`StringEquals={…}`)."""
    statement = {"Effect": "Allow", "Action": action, "Resource": resource}
    return {**statement, "Condition": condition} if condition else statement


def deny(action: Any, resource: Any = "*", **condition: Any) -> dict[str, Any]:
    return {**allow(action, resource, **condition), "Effect": "Deny"}


def eventually(look: Callable[[], Any], seconds: float = 10.0) -> Any:
    """What `look` finds, asked again for a while."""
    end, pause = time.monotonic() + seconds, 0.01
    while not (found := look()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)  # each look is a request
    return found


def code(call: Callable[..., Any], **params: Any) -> str:
    """The error code of a call that must fail."""
    try:
        call(**params)
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    raise AssertionError("this should have been refused")
