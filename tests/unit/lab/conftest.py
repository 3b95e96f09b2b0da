# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the lab call what they like: that is no use of a policy by a playbook."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.aws.usage import FOLDER


@pytest.fixture(scope="module", autouse=True)
def no_account_of_uses() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(FOLDER, raising=False)
        yield
