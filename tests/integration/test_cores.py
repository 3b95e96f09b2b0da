# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The oldest ansible-core that the collection promises (meta/runtime.yml): 2.16, beside the one of the other tests.

It makes text of most of what a template returns, and renders all variables of a host at once where one is asked for.
Skipped unless DFIR_CORE216 names the Python of a virtual environment that has it; it takes the collections of the
environment that runs the tests:

    python3 -m venv .venv-2.16
    .venv-2.16/bin/pip install 'ansible-core==2.16.*' boto3
    sudo DFIR_CORE216=.venv-2.16/bin/python .venv/bin/pytest tests/integration/test_cores.py
"""

from __future__ import annotations

import json
import os
import subprocess
from importlib.util import find_spec
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import yaml

from lab import audit
from lab.config import LabConfig
from tests.kit import CHECKOUT, tool_environment

PLAYBOOK = "playbooks/analyze_request.yml"
VALID: dict[str, Any] = yaml.safe_load((CHECKOUT / "examples/analyze_request.yml").read_text())
PYTHON = os.environ.get("DFIR_CORE216", "")

pytestmark = pytest.mark.skipif(not PYTHON, reason="DFIR_CORE216 names no Python that has ansible-core 2.16")


def tool(name: str, *arguments: str) -> CompletedProcess[str]:
    """Run one of its commands as its user would, on the collections of this environment."""
    folder = (CHECKOUT / PYTHON).parent
    found = find_spec("ansible_collections.amazon.aws")
    assert found and found.submodule_search_locations, "this environment has no amazon.aws"
    installed = Path(next(iter(found.submodule_search_locations))).parents[2]
    environment = tool_environment()
    environment |= {"ANSIBLE_COLLECTIONS_PATH": f"{CHECKOUT / 'collections'}:{installed}",
                    "PATH": f"{folder}:{environment['PATH']}"}
    return subprocess.run([str(folder / name), *arguments], cwd=CHECKOUT, env=environment, stdin=subprocess.DEVNULL,
                          text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300, check=False)


def ask(folder: Path, *options: str, **fields: Any) -> CompletedProcess[str]:
    """Send a request in."""
    request = folder / "request.json"
    request.write_text(json.dumps(VALID | fields))
    return tool("ansible-playbook", "-i", "inventories/lab", PLAYBOOK, "-e", f"@{request}", *options)


def test_it_is_the_oldest() -> None:
    assert "core 2.16." in tool("ansible", "--version").stdout


def test_its_syntax() -> None:
    done = tool("ansible-playbook", "-i", "inventories/lab", PLAYBOOK, "--syntax-check")
    assert done.returncode == 0, done.stdout


def test_a_refusal_is_one_sentence(lab: LabConfig, tmp_path: Path) -> None:
    done = ask(tmp_path, analyst_uid="bob")
    assert done.returncode != 0
    assert "Request refused." in done.stdout and "has no right to the incident" in done.stdout
    assert "Traceback" not in done.stdout and "TASK [Get the analyst's public key]" not in done.stdout


def test_check_mode_goes_through_and_creates_nothing(lab: LabConfig, tmp_path: Path) -> None:
    before = audit.account(lab)
    done = ask(tmp_path, "--check", attempt=99)
    assert done.returncode == 0, done.stdout
    assert "PLAY [Settle]" in done.stdout and "failed=0" in done.stdout and "rescued=0" in done.stdout
    assert audit.account(lab) - before == set()


# What Settle is told of a host, with the playbook's own words; the rest stands in for the plays before it.
ALARM = """
- hosts: localhost
  gather_facts: false
  tasks:
    - ansible.builtin.add_host: {name: i-1, groups: [analysis_host], evidence_result: {partitions: [1]}}
    - ansible.builtin.set_fact:
        analysis_host_result: {instance_id: i-1}
        analyze_request_seen: {}
        request_result: {earlier: {evidence: {}, toolbox: {}, analyst_access: {}}}
- hosts: localhost
  gather_facts: false
  tasks:
    - ansible.builtin.set_fact:
        told: "{{ [settle_standing, settle_evidence, settle_toolbox, settle_access, settle_steps] }}"
    - ansible.builtin.copy: {content: "{{ told | to_json }}", dest: "{{ inventory_dir }}/told.json", mode: "0600"}
"""


def test_the_alarm_is_raised_though_a_variable_of_the_host_cannot_be_rendered(tmp_path: Path) -> None:
    """A look-up that failed for the toolbox is no reason to fail again before the alarm."""
    settle = yaml.safe_load((CHECKOUT / PLAYBOOK).read_text())[-1]
    names = {name: value for task in settle["tasks"]
             for name, value in (task.get("vars") or task.get("ansible.builtin.set_fact") or {}).items()}
    plays = yaml.safe_load(ALARM)
    plays[1]["vars"] = settle["vars"] | names
    (tmp_path / "alarm.yml").write_text(yaml.safe_dump(plays))
    (tmp_path / "group_vars").mkdir()
    (tmp_path / "group_vars" / "analysis_host.yml").write_text(
        """toolbox_archive_url: "{{ lookup('ansible.builtin.pipe', 'exit 1') }}"\n""")
    (tmp_path / "hosts").write_text(
        "localhost ansible_connection=local ansible_python_interpreter='{{ ansible_playbook_python }}'\n")
    done = tool("ansible-playbook", "-i", str(tmp_path / "hosts"), str(tmp_path / "alarm.yml"))
    assert done.returncode == 0, done.stdout
    standing, evidence, *_rest = json.loads((tmp_path / "told.json").read_text())
    assert standing["failed"] and standing["step"] == "snapshot"
    assert evidence == {"partitions": [1]}


def test_p64_a_template_in_an_event_is_never_rendered(lab: LabConfig, tmp_path: Path) -> None:
    marker, event = tmp_path / "rendered", tmp_path / "event.json"
    template = "{{ lookup('ansible.builtin.pipe', 'touch " + str(marker) + "') }}"
    event.write_text(json.dumps({"event_id": template, "event_resource": {template: [template]},
                                 "ansible_eda": {"event": {template: template}}}))
    answer = tool("ansible-playbook", "-i", "inventories/lab", "playbooks/answer_event.yml", "-e", f"@{event}")
    assert answer.returncode != 0 and not marker.exists(), answer.stdout
    assert "event_id holds a template" in " ".join(answer.stdout.split())
