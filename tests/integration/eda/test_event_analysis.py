# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole way: a signed POST, the rulebook, the request, a host reached by SSH, the results and their mail."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest
import yaml

from lab.config import LabConfig
from tests.integration.eda.listener import Site
from tests.kit import CHECKOUT

EXAMPLE = yaml.safe_load((CHECKOUT / "examples" / "analyze_request.yml").read_text())


@pytest.mark.more
def test_a_signed_post_leads_to_the_finished_analysis_and_its_mail(lab: LabConfig, tmp_path: Path) -> None:
    site, request = Site(lab, tmp_path), {**EXAMPLE, "incident": f"INC-{uuid.uuid4().hex[:8].upper()}"}
    with site.listening() as listener:
        assert listener.request(request) == 200
        request_id = site.documented_id(request)
        record = site.eventually(f"requests/{request_id}.json", lambda record: record["state"] == "finished",
                                 patience=1800)
        assert record["outcome"] == "complete", listener.log()[-4000:]
        assert request["aws_snapshot_id"] in site.mail(f"[{request['incident']}] complete")
        assert any(key.endswith("/summary.json") for key in site.keys(f"{request['incident']}/"))
        assert listener.is_up()
