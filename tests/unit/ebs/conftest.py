# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An empty bucket of the EBS direct service that the tests of a process share."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.ebs.engine_kit import SharedKit


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
