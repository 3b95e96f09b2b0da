# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One EBS direct service for the tests of a process; each test finds it as it was made."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest

from tests.unit.ebs.engine_kit import SharedKit


@pytest.fixture(scope="session")
def shared_kit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedKit]:
    service = SharedKit(tmp_path_factory.mktemp("ebs"))
    yield service
    service.close()


@pytest.fixture
def kit(shared_kit: SharedKit) -> Iterator[SharedKit]:
    """EBS direct, and S3, EC2 and STS (moto) at the same address."""
    facts, settings = copy.deepcopy(shared_kit.catalog.snapshots), vars(shared_kit.settings).copy()
    yield shared_kit
    shared_kit.faults.clear()
    shared_kit.authorizer.reader_may = []
    shared_kit.catalog.snapshots |= facts
    vars(shared_kit.settings).update(settings)


@pytest.fixture
def bucket(kit: SharedKit) -> Any:
    """An empty bucket's client and name: no object, and no upload that a test has killed."""
    s3 = kit.s3()
    name = "dfir-images"
    for found in s3.list_objects_v2(Bucket=name).get("Contents", []):
        s3.delete_object(Bucket=name, Key=found["Key"])
    for found in s3.list_multipart_uploads(Bucket=name).get("Uploads", []):
        s3.abort_multipart_upload(Bucket=name, Key=found["Key"], UploadId=found["UploadId"])
    return s3, name
