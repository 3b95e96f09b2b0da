# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ansible-builder makes of execution-environment.yml, and the playbook that imports, over HTTP."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.aap_kit import ROOT
from tests.fake_controller.eda import EventDriven
from tests.fake_controller.server import Controller, running

BIN = Path(sys.executable).parent
TOKEN, SECRET = "a-token-that-nobody-prints", "a-secret-that-nobody-prints"
pytestmark = pytest.mark.slow


def test_the_build_context_has_what_playbooks_need(tmp_path: Path) -> None:
    done = subprocess.run([str(BIN / "ansible-builder"), "create", "-f", str(ROOT / "execution-environment.yml"), "-c",
                           str(tmp_path)], cwd=ROOT, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    recipe = (tmp_path / "Containerfile").read_text(encoding="utf-8")
    assert re.findall(r"^USER (\S+)$", recipe, re.MULTILINE)[-1] == "1000"
    for name in ("requirements.txt", "requirements.yml", "bindep.txt"):
        assert (tmp_path / "_build" / name).read_text(encoding="utf-8") == (ROOT / name).read_text(encoding="utf-8")
    assert "openssh-clients" in (tmp_path / "_build" / "bindep.txt").read_text(encoding="utf-8")


def run(host: str, token: str, *options: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items()
             if not key.startswith(("AWS_", "ANSIBLE_", "CONTROLLER_", "AAP_"))}
    return subprocess.run([str(BIN / "ansible-playbook"), "-i", "inventories/aws/hosts.yml", "playbooks/import_aap.yml",
                           *options], cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=500, stdin=subprocess.DEVNULL, check=False,
                          env={**clean, "ANSIBLE_NOCOLOR": "1", "CONTROLLER_HOST": host,
                               "CONTROLLER_OAUTH_TOKEN": token})


def test_an_import_says_what_is_missing_and_what_is_refused() -> None:
    controller = Controller(set(), TOKEN)
    with running(controller) as host:
        lacking = run(host, "")
        assert lacking.returncode != 0 and "CONTROLLER_OAUTH_TOKEN" in lacking.stdout
        refused = run(host, "some-other-token", "-vvv")
        assert refused.returncode != 0 and "HTTP 401" in refused.stdout and "some-other-token" not in refused.stdout
        assert controller.writes == []


def test_an_import_over_http_does_what_its_check_said(tmp_path: Path) -> None:
    """A part of the data, through the playbook: tests of the whole go without Ansible (test_import.py, ..._eda.py)."""
    eda = EventDriven({path.name: path.read_text(encoding="utf-8")
                       for path in (ROOT / "extensions/eda/rulebooks").glob("*.yml")})
    controller = Controller({f"playbooks/{path.name}" for path in (ROOT / "playbooks").glob("*.yml")}, TOKEN, eda)
    part = tmp_path / "part.json"
    left_out = [f"controller_{kind}" for kind in ("labels", "notifications", "templates", "workflows", "schedules",
                                                  "inventories", "inventory_sources")]
    secrets = {f"dfir_aap_{name}": SECRET for name in ("controller_url", "events_token", "requests_secret",
                                                       "findings_token")}
    part.write_text(json.dumps({**{name: [] for name in left_out}, **secrets, "aap_import_sync_delay": 0,
                                "aap_import_eda": "always"}), encoding="utf-8")
    with running(controller) as host:
        said = run(host, TOKEN, "--check", "-e", f"@{part}")
        assert said.returncode == 0 and controller.writes == [], said.stdout[-3000:]
        did = run(host, TOKEN, "-e", f"@{part}", "-vvv")
        assert did.returncode == 0 and TOKEN not in did.stdout and SECRET not in did.stdout, did.stdout[-3000:]
        titles = [re.findall(r"^ +- (create .+)$", done.stdout, re.MULTILINE) for done in (said, did)]
        assert titles[0] == titles[1] and len(titles[0]) == len(controller.writes) > 10
        activation = eda.named("activations", "dfir_requests")
        assert activation["is_enabled"] and len(eda.objects["event-streams"]) == 2
        # Again: nothing differs but the rulebook, of which a new revision was fetched. What runs is stopped for it.
        before = len(controller.writes)
        eda.objects["rulebooks"][activation["rulebook_id"]]["rulesets"] += "\n# newer\n"
        again = run(host, TOKEN, "-e", f"@{part}")
        assert again.returncode == 0, again.stdout
        assert [(method, path) for method, path, _body in controller.writes[before:]] == [
            ("POST", f"activations/{activation['id']}/disable"), ("PATCH", f"activations/{activation['id']}")]
        assert activation["is_enabled"] and activation["stopping"] == 0, "it answered 409 while it was being stopped"
