# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What all unit tests share."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import TYPE_CHECKING

import botocore.session
import pytest

if TYPE_CHECKING:  # only the tests that use it pay for its imports
    from tests.unit.ebs.engine_kit import SharedKit


@pytest.fixture(scope="session", autouse=True)
def service_models() -> Iterator[None]:
    """botocore reads its descriptions of AWS anew for every session, a third of a second each; here once for all."""
    loader = botocore.session.create_loader()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.session, "create_loader", lambda search_path_string=None: loader)
        yield


@pytest.fixture(scope="session")
def shared_kit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedKit]:
    """One EBS direct service for the tests of a process."""
    from tests.unit.ebs.engine_kit import SharedKit

    service = SharedKit(tmp_path_factory.mktemp("ebs"))
    yield service
    service.close()


@pytest.fixture
def kit(shared_kit: SharedKit) -> Iterator[SharedKit]:
    """As it was made: EBS direct, and S3, EC2 and STS (moto) at the same address."""
    facts, settings = copy.deepcopy(shared_kit.catalog.snapshots), vars(shared_kit.settings).copy()
    yield shared_kit
    shared_kit.faults.clear()
    shared_kit.authorizer.reader_may = []
    shared_kit.catalog.snapshots |= facts
    vars(shared_kit.settings).update(settings)
