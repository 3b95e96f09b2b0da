# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tests of plugins share: the tables, and an S3 and STS of moto's behind a real HTTP port."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from moto.server import ThreadedMotoServer

HERE = Path(__file__).parent
ROOT = HERE.parents[2]


@pytest.fixture(scope="session")
def table() -> dict[str, Any]:
    """The hostile inputs, and a valid one."""
    return yaml.safe_load((HERE / "data" / "hostile_inputs.yml").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def analysts() -> list[dict[str, Any]]:
    """The registry as the lab's inventory holds it."""
    settings = yaml.safe_load((ROOT / "inventories" / "lab" / "group_vars" / "all.yml").read_text(encoding="utf-8"))
    return settings["dfir_aws_analysts"]


@pytest.fixture(scope="session")
def endpoint() -> Iterator[str]:
    """The URL of an AWS that knows no policies."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def aws(endpoint: str) -> Any:
    """Clients of that AWS, by name of the service."""

    def client(service: str) -> Any:
        return boto3.client(service, endpoint_url=endpoint, region_name="eu-west-1", aws_access_key_id="AKIATESTS",
                            aws_secret_access_key="secret-of-the-tests")

    return client
