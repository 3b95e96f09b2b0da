# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Importing `aap/eda.yml` into a stand-in for Event-Driven Ansible, which refuses what eda-server refuses."""

from __future__ import annotations

import copy
import hashlib
import hmac
import re
from typing import Any

import pytest
import yaml
from ansible_collections.dfir.aws.plugins.plugin_utils import platform_eda
from ansible_collections.dfir.aws.plugins.plugin_utils.platform_import import ImportProblem

from tests.aap_kit import ROOT, imported, load
from tests.fake_controller.eda import Conflict, EventDriven
from tests.fake_controller.rules import Refused

SECRETS = {"dfir_aap_controller_url": "https://platform.example.org/api/controller/", "dfir_aap_events_token": "t-1",
           "dfir_aap_requests_secret": "s-1", "dfir_aap_findings_token": "t-2"}


def rulebooks() -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "extensions/eda/rulebooks").glob("*.yml")}


@pytest.fixture
def eda() -> EventDriven:
    fake = EventDriven(rulebooks())
    fake.pending = fake.stopping = 0
    return fake


@pytest.fixture(scope="module")
def data() -> dict[str, Any]:
    return load(**SECRETS)


def test_it_gets_everything_once_and_secrets_are_not_asked_for_again(eda: EventDriven, data: dict[str, Any]) -> None:
    would = imported(eda, data, check=True, by=platform_eda)
    assert not eda.objects["eda-credentials"]
    assert imported(eda, data, by=platform_eda) == would and len(would) == sum(
        len(data[kind]) for kind in platform_eda.KINDS)
    assert imported(eda, data, by=platform_eda) == []
    assert imported(eda, load(), by=platform_eda) == []
    assert eda.named("eda-credentials", "dfir controller")["inputs"]["oauth_token"] == "t-1"
    activation = eda.named("activations", "dfir_requests")
    book = eda.objects["rulebooks"][activation["rulebook_id"]]
    assert book["name"] == "event_stream.yml" and activation["is_enabled"] is True
    streams = {one["source_name"]: one["event_stream_name"] for one in yaml.safe_load(activation["source_mappings"])}
    assert streams == {"requests": "dfir requests", "findings": "dfir findings"}
    assert eda.named("event-streams", "dfir requests")["test_mode"] is False


def test_a_running_activation_is_stopped_before_it_is_changed(eda: EventDriven, data: dict[str, Any]) -> None:
    imported(eda, data, by=platform_eda)
    activation = eda.named("activations", "dfir_requests")
    eda.objects["rulebooks"][activation["rulebook_id"]]["rulesets"] += "\n# a new revision of the project\n"
    eda.named("projects", "dfir aws")["scm_branch"] = "old"
    expected = ["change EDA project dfir aws: scm_branch", "stop rulebook activation dfir_requests",
                "change rulebook activation dfir_requests: source_mappings"]
    assert imported(eda, data, check=True, by=platform_eda) == expected
    assert imported(eda, data, by=platform_eda) == expected and imported(eda, data, by=platform_eda) == []
    assert activation["is_enabled"] is True
    activation["is_enabled"] = False
    assert imported(eda, data, by=platform_eda) == ["enable rulebook activation dfir_requests"]
    with pytest.raises(Conflict):
        eda.patch(["activations", str(activation["id"])], {"log_level": "debug"})


def test_what_it_lacks_is_said_in_one_sentence(eda: EventDriven) -> None:
    empty = load()["eda_credentials"]
    answer = {"status": 200, "json": eda.get(["eda-credentials"], {})}
    said = platform_eda.lacking(empty, answer)
    assert "dfir controller: host, oauth_token" in said and "dfir requests stream: secret" in said
    assert "no Event-Driven Ansible" in platform_eda.lacking(empty, {"status": 404})
    assert platform_eda.lacking(load(**SECRETS)["eda_credentials"], answer) == ""
    imported(eda, load(**SECRETS), by=platform_eda)
    assert platform_eda.lacking(empty, {"status": 200, "json": eda.get(["eda-credentials"], {"name": "dfir "})}) == ""


def test_names_that_nobody_has_end_the_import(eda: EventDriven, data: dict[str, Any]) -> None:
    wrong = copy.deepcopy(data)
    wrong["eda_rulebook_activations"][0]["rulebook"] = "lost.yml"
    with pytest.raises(ImportProblem, match=r"has no rulebook lost\.yml"):
        imported(eda, wrong, by=platform_eda)
    wrong = copy.deepcopy(data)
    wrong["eda_rulebook_activations"][0]["event_streams"][0]["event_stream"] = "lost"
    with pytest.raises(ImportProblem, match="named 'lost'"):
        imported(eda, wrong, check=True, by=platform_eda)


@pytest.mark.parametrize(("kind", "change", "sentence"), [
    ("eda_projects", {"url": "no address"}, "source control URL"),
    ("eda_decision_environments", {"image_url": "NoHost"}, "malformed"),
    ("eda_credentials", {"inputs": {"host": "h", "verify_ssl": "yes"}}, "boolean or string"),
    ("eda_credentials", {"inputs": {"server": "h"}}, "not defined in the schema"),
    ("eda_event_streams", {"credential_name": "dfir controller"}, "event streams"),
    ("eda_rulebook_activations", {"restart_policy": "sometimes"}, "not a valid choice"),
    ("eda_rulebook_activations", {"eda_credentials": []}, "requires a RH AAP credential"),
    ("eda_rulebook_activations", {"extra_vars": "- a list"}, "not in object format"),
    ("eda_rulebook_activations", {"event_streams": [{"event_stream": "dfir requests", "source_name": "x"}]},
     "does not exist")])
def test_the_stand_in_refuses_what_eda_server_refuses(eda: EventDriven, data: dict[str, Any], kind: str,
                                                      change: dict[str, Any], sentence: str) -> None:
    wrong = copy.deepcopy(data)
    wrong[kind][0].update(change)
    with pytest.raises(Refused, match=sentence):
        imported(eda, wrong, by=platform_eda)


def test_what_the_documented_function_signs_is_what_the_event_stream_takes(data: dict[str, Any]) -> None:
    """The prefix `sha256=` was missing in the credential: every signed request would have been refused there."""
    page = (ROOT / "docs/webhook.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    exec(re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)[0], names)
    inputs = next(one["inputs"] for one in data["eda_credentials"] if one["credential_type"] == "HMAC Event Stream")
    body = b'{"incident": "INC-1"}'
    digest = hmac.new(inputs["secret"].encode(), body, inputs["hash_algorithm"]).hexdigest()
    assert inputs["signature_encoding"] == "hex" and hashlib.new(inputs["hash_algorithm"]).name == "sha256"
    assert names["signature"](inputs["secret"], body) == inputs.get("signature_prefix", "") + digest
    assert inputs["http_header_key"].lower() == "x-dfir-signature-256"
