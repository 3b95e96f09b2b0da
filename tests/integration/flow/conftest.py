# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the tests of the flow beside each other, and holds what all of them left against what was there before."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from lab import audit
from lab.config import LabConfig
from tests.integration.flow.flow_kit import Futures, Site
from tests.integration.flow.matrix import Matrix

AT_ONCE = 4


def pytest_configure(config: pytest.Config) -> None:
    if path := config.getoption("--matrix", None):
        config.pluginmanager.register(Matrix(path))


@pytest.fixture(scope="session")
def site(lab: LabConfig, tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Site:
    """Where the tests work."""
    return Site(lab, tmp_path_factory.mktemp("flow"), seed=pytestconfig.getoption("--seed"),
                rounds=pytestconfig.getoption("--rounds"))


@pytest.fixture(scope="session")
def before(lab: LabConfig) -> set[audit.Thing]:
    """What the account held before the first test."""
    return audit.account(lab)


@pytest.fixture(scope="session")
def flows(site: Site, before: set[audit.Thing], request: pytest.FixtureRequest) -> Iterator[Futures]:
    """Every chosen test that runs beside others, as it goes on."""
    chosen = [item.function for item in request.session.items if hasattr(getattr(item, "function", None), "flow")]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {test.flow: pool.submit(test.flow, site) for test in sorted(chosen, key=lambda test: -test.minutes)}
