# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""YARA rules over what a triage reads anyway: what they find, what it costs, and what is refused."""

from __future__ import annotations

import builtins
import hashlib
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.dfir.aws.plugins.module_utils.ebs.errors import BadInput, Missing
from ansible_collections.dfir.aws.plugins.module_utils.triage import yara_match
from ansible_collections.dfir.aws.plugins.module_utils.triage.look import Triage

from tests.kit import CHECKOUT
from tests.unit.triage.triage_kit import SYSTEM, ext4, tree, triage

SHIPPED = CHECKOUT / "roles/toolbox/files/image/rules/yara"
RULES = r"""
rule Campaign_Job : cron
{
    meta:
        description = "a job of the \x1b[31mcampaign"
        severity = "High"
    strings:
        $address = "198.51.100.7"
    condition:
        $address
}
rule Any_Key { strings: $key = "ssh-ed25519 " condition: $key at 0 }
rule Odd_Severity { meta: severity = "awful" strings: $a = "start-shop" condition: $a }
rule Not_Read { strings: $a = "NOBODY READS THIS" condition: $a }
"""
SHELL = "<?php\n// shop\nsystem($_GET['c']);\n"


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small system, a web shell, and a large file that no finder reads whole."""
    folder = tmp_path_factory.mktemp("system")
    return ext4(folder / "root.img", tree(folder / "root", {
        **SYSTEM, "var/www/html/x.php": SHELL, "srv/data/dump.bin": b"\0" * (3 << 20) + b"NOBODY READS THIS"}))


def rules(tmp_path: Path, text: str = RULES, name: str = "team.yar") -> Path:
    (tmp_path / name).write_text(text)
    return tmp_path / name


def matches(one: Triage) -> dict[tuple[str, str], dict[str, Any]]:
    return {(item["rule"], item["path"]): item for item in one.report()["findings"] if item["kind"] == "yara"}


def test_a_match_has_its_rules_name_severity_place_and_a_clean_excerpt(system: Path, tmp_path: Path) -> None:
    found = matches(triage(system, yara=yara_match.load([rules(tmp_path)])))
    job = found["Campaign_Job", "/etc/cron.d/gc"]
    content = SYSTEM["etc/cron.d/gc"]
    assert job["severity"] == "high" and job["excerpt"] == content.strip()
    place = content.index("198.51.100.7")
    assert job["reason"] == f"a job of the \\x1b[31mcampaign (at byte {place})"
    assert job["sha256"] == hashlib.sha256(content.encode()).hexdigest() and job["inode"] and job["times"]["m"]
    assert found["Any_Key", "/home/deploy/.ssh/authorized_keys"]["severity"] == "medium"
    assert found["Odd_Severity", "/etc/rc.local"]["severity"] == "medium"
    assert not any(rule == "Not_Read" for rule, _path in found)


def test_no_block_more_is_read_for_them(system: Path, tmp_path: Path) -> None:
    without, with_them = triage(system), triage(system, yara=yara_match.load([rules(tmp_path)]))
    assert with_them.source.cost() == without.source.cost() and matches(with_them)
    assert with_them.source.cost()["bytes_read"] < system.stat().st_size, "all was read: this would show nothing"
    plain = [item for item in with_them.report()["findings"] if item["kind"] != "yara"]
    assert plain == without.report()["findings"]


def test_what_was_read_in_part_is_matched_in_that_part_and_has_no_hash(tmp_path: Path) -> None:
    image = ext4(tmp_path / "root.img", tree(tmp_path / "root", {"a": b"FIRST" + b"." * (1 << 20) + b"SECOND"}))
    [(_part, one)] = triage(image, yara=yara_match.load([rules(tmp_path)])).trees
    assert isinstance(one, yara_match.FollowedTree)
    one.read_to.clear()
    stream = one.open("/a")
    assert stream is not None and stream.seek(500_000) and stream.read(10) == b"." * 10
    assert one.read_to == {}, "a part in the middle is no beginning"
    assert one.read("/a", 4096) is not None
    assert b"FIRST" in one.again(b"/a") and len(one.again(b"/a")) == one.read_to[b"/a"] <= 1 << 16
    assert one.read("/a") is not None and one.again(b"/a").endswith(b"SECOND")


def test_the_rules_that_the_toolbox_ships_work_here_too(system: Path) -> None:
    found = matches(triage(system, yara=yara_match.load(sorted(SHIPPED.glob("*.yar")))))
    shell = found["Web_Shell_PHP_Runs_Input", "/var/www/html/x.php"]
    assert shell["severity"] == "high" and shell["excerpt"] == "system($_GET['c']);"
    assert shell["reason"].startswith("PHP that runs what a visitor sends (at byte ")


def test_a_file_that_takes_too_long_is_listed_and_the_others_are_matched(
        system: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import yara_x

    class Slow:
        """Stands in for the scanner: a real time-out would take a second."""

        def __init__(self, inner: Any) -> None:
            self._inner = inner

        def scan(self, data: bytes) -> Any:
            if b"start-shop" in data:
                raise yara_x.TimeoutError("timeout")
            return self._inner.scan(data)

    yara = yara_match.load([rules(tmp_path)])
    monkeypatch.setattr(yara, "_scanner", Slow(yara._scanner))  # type: ignore[union-attr]
    one = triage(system, yara=yara)
    assert one.not_read == ["p0: YARA took more than 10 s on /etc/rc.local"]
    assert ("Campaign_Job", "/etc/cron.d/gc") in matches(one)


@pytest.mark.parametrize(("text", "said"), [
    ("rule a {\n condition: foo }", "unknown identifier `foo` in line 2"),
    ('include "/etc/passwd"\nrule a { condition: true }', "include statements not allowed in line 1"),
    ("no rules at all", "syntax error"),
])
def test_rules_that_cannot_be_used_are_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    path = rules(tmp_path, text)
    with pytest.raises(BadInput, match="holds no YARA rules that can be used") as refused:
        yara_match.load([path])
    assert str(path) in str(refused.value) and said in str(refused.value) and "\n" not in str(refused.value)
    with pytest.raises(BadInput, match="cannot be read"):
        yara_match.load([tmp_path / "absent.yar"])


def test_two_files_may_have_a_rule_of_one_name(tmp_path: Path) -> None:
    assert yara_match.load([rules(tmp_path), rules(tmp_path, name="other.yar")]) is not None
    assert yara_match.load([]) is None


def test_without_the_package_it_says_which_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def absent(name: str, *rest: Any, **more: Any) -> Any:
        if name == "yara_x":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", absent)
    assert yara_match.load([]) is None
    with pytest.raises(Missing, match="yara-x"):
        yara_match.load([rules(tmp_path)])
