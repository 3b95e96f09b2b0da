# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Imaging hosts in the tests' lab, and snapshots for them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import imaging
from lab.config import LabConfig
from tests.integration.imaging.imaging_kit import Site


@pytest.fixture(scope="module")
def site(lab: LabConfig, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Three hosts; what they and the tests made of the lab goes with them."""
    site = Site(lab, tmp_path_factory.mktemp("imaging"))
    site.instances = imaging.up(lab, 3)
    yield site
    site.quotas(account_quota="off", snapshot_quota="off")
    imaging.down(lab)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path
