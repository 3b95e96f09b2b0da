# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures of tests about requests: the tables, an AWS behind a real HTTP port, ansible-playbook as a shell has it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml

from tests.plain_aws import plain_aws

ROOT = Path(__file__).resolve().parents[1]
HOSTILE = ROOT / "tests" / "unit" / "plugins" / "data" / "hostile_inputs.yml"
SECRET = "a-secret-that-nobody-prints"
Run = Callable[..., subprocess.CompletedProcess[str]]
PLAY = """
- hosts: localhost
  gather_facts: false
  environment: "{{ dfir_aws_environment }}"
  module_defaults:
    group/dfir.aws.aws: "{{ dfir_aws_module_defaults }}"
  tasks:
    - name: Let the request in
      ansible.builtin.include_role:
        name: dfir.aws.request
    - name: Keep what it said
      ansible.builtin.copy:
        content: "{{ request_result | to_json }}"
        dest: "{{ out }}"
        mode: "0600"
      check_mode: false
"""


@pytest.fixture(scope="session")
def table() -> dict[str, Any]:
    """The hostile inputs, and a valid one."""
    return yaml.safe_load(HOSTILE.read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def analysts() -> list[dict[str, Any]]:
    """The registry as the lab's inventory holds it."""
    settings = yaml.safe_load((ROOT / "inventories" / "lab" / "group_vars" / "all.yml").read_text(encoding="utf-8"))
    return settings["dfir_aws_analysts"]


@pytest.fixture(scope="session")
def endpoint() -> Iterator[str]:
    """The URL of an AWS that knows no policies."""
    with plain_aws() as running:
        yield running.url


@pytest.fixture
def aws(endpoint: str) -> Any:
    """Clients of that AWS, by name of the service."""

    def client(service: str) -> Any:
        return boto3.client(service, endpoint_url=endpoint, region_name="eu-west-1", aws_access_key_id="AKIATESTS",
                            aws_secret_access_key="secret-of-the-tests")

    return client


@pytest.fixture
def site(tmp_path: Path, endpoint: str, analysts: list[dict[str, Any]], aws: Any) -> dict[str, Any]:
    """An inventory for an AWS whose caller is moto's default user, with a bucket of its own."""
    bucket = f"b-{uuid.uuid4().hex}"
    aws("s3").create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    arn = aws("sts").get_caller_identity()["Arn"]
    settings = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "dfir_aws_environment": {"AWS_EC2_METADATA_DISABLED": "true"},
        "dfir_aws_module_defaults": {"endpoint_url": endpoint, "access_key": "AKIATESTS", "secret_key": SECRET},
        "dfir_aws_artifact_bucket": bucket,
        "dfir_aws_artifact_bucket_region": "eu-west-1",
        "dfir_aws_analysts": [{**analysts[0], "callers": [arn]}],
        "out": str(tmp_path / "result.json"),
    }
    (tmp_path / "hosts.json").write_text(json.dumps({"all": {"hosts": {"localhost": settings}}}), encoding="utf-8")
    (tmp_path / "play.yml").write_text(PLAY, encoding="utf-8")
    return {"folder": tmp_path, "bucket": bucket, "s3": aws("s3"), "result": tmp_path / "result.json"}


@pytest.fixture
def run(site: dict[str, Any]) -> Run:
    """Run a playbook with JSON extra variables, from an ordinary shell without any AWS variable."""

    def play(extra: dict[str, Any], *options: str, environ: dict[str, str] | None = None, name: str = "play.yml"
             ) -> subprocess.CompletedProcess[str]:
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "ANSIBLE_", "JOB_ID"))}
        command = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", str(site["folder"] / "hosts.json"),
                   str(site["folder"] / name), "-e", json.dumps(extra), *options]
        return subprocess.run(command, cwd=ROOT, env={**clean, "ANSIBLE_NOCOLOR": "1", **(environ or {})}, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, timeout=120,
                              check=False)

    return play


def flat(text: str) -> str:
    """Output without the places where a callback folded it."""
    return " ".join(text.replace("''", "'").split())


def objects(site: dict[str, Any]) -> list[str]:
    return [item["Key"] for item in site["s3"].list_objects_v2(Bucket=site["bucket"]).get("Contents", [])]
