# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report holds what the data holds, as text, in one file that is small, runs nothing, and is always the same."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
import re
import stat
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.dfir.aws.plugins.plugin_utils.report import packing, render, view
from ansible_collections.dfir.aws.plugins.plugin_utils.report.render import ReportError, short_text
from ansible_collections.dfir.aws.plugins.plugin_utils.report.texts import plain

from tests.report_kit import EVIL, FINDINGS, NAMES, finding, hostile, nanoseconds, sample

CHECKOUT = Path(__file__).resolve().parents[3]
SMALL = 5_000_000
# Every attribute that the page knows. An event handler, a style or a source is none of them.
ATTRIBUTES = {"aria-label", "aria-labelledby", "charset", "class", "content", "data-path", "data-sort", "data-v",
              "hidden", "href", "http-equiv", "id", "lang", "name", "role", "scope", "tabindex", "title", "type"}


class Page(HTMLParser):
    """What a browser makes of the file, as far as it matters here."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.raw: list[tuple[str, str]] = []  # contents of <script> and <style>, by element or type
        self.text: list[str] = []
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.tags.append((tag, given))
        self._inside = given.get("type", tag) if tag in ("script", "style") else ""
        if self._inside:
            self.raw.append((self._inside, ""))

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.raw[-1] = (self._inside, self.raw[-1][1] + data)
        else:
            self.text.append(data)

    def blocks(self, kind: str) -> list[str]:
        return [text for name, text in self.raw if name == kind]

    @property
    def policy(self) -> str:
        return next(given["content"] for _tag, given in self.tags if "http-equiv" in given)


@pytest.fixture(scope="module")
def page() -> Page:
    return Page(render.render(sample(500)))


@pytest.fixture(scope="module")
def attacked() -> Page:
    return Page(render.render(hostile()))


def columns(text: str) -> dict[str, Any]:
    """The timeline of a page."""
    return packing.unpack(Page(text).blocks("application/json")[1])


def times(packed: dict[str, Any]) -> list[int | None]:
    """Nanoseconds since the epoch of each row, as the script sees them."""
    found: list[int | None] = []
    before = 0
    for index, (seconds, nanos) in enumerate(zip(packed["seconds"], packed["nanos"], strict=True)):
        before += seconds or 0
        found.append(None if seconds is None else int(packed["far"].get(str(index), before * 10**9 + nanos)))
    return found


def test_names_from_evidence_make_no_element_and_no_attribute(page: Page, attacked: Page) -> None:
    assert {tag for tag, _given in attacked.tags} <= {tag for tag, _given in page.tags} | {"noscript"}
    assert {name for _tag, given in attacked.tags for name in given} <= ATTRIBUTES
    assert sum(tag == "script" for tag, _given in attacked.tags) == 4
    assert all(given["href"].startswith("#") for _tag, given in attacked.tags if "href" in given)
    ids = [given["id"] for _tag, given in attacked.tags if "id" in given]
    assert len(ids) == len(set(ids)) and all(re.fullmatch(r"[a-z0-9-]+", name) for name in ids)


def test_names_from_evidence_are_there_as_text(attacked: Page) -> None:
    shown = "".join(attacked.text)
    for name in NAMES:
        assert plain(name)[:2000] in shown
    assert EVIL in shown and "\\u202egnp.exe" in shown and "{{ 7*7 }}" in shown


def test_nothing_of_a_name_is_in_what_runs(page: Page, attacked: Page) -> None:
    assert page.blocks("script") == attacked.blocks("script") and page.blocks("style") == attacked.blocks("style")
    for block in attacked.blocks("application/json"):
        assert not set("<>&\u2028\u2029") & set(block)
        assert json.loads(block)


def test_the_policy_names_exactly_what_is_there(page: Page) -> None:
    def sources(blocks: list[str]) -> str:
        return " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
                        for text in blocks)
    rules = dict(rule.split(" ", 1) for rule in page.policy.split("; "))
    assert rules.pop("script-src") == sources(page.blocks("script"))
    assert rules.pop("style-src") == sources(page.blocks("style"))
    assert rules == {"default-src": "'none'", "base-uri": "'none'", "form-action": "'none'", "trusted-types": "'none'",
                     "require-trusted-types-for": "'script'"}
    assert "unsafe" not in page.policy


def test_the_scripts_make_no_html_of_strings(page: Page) -> None:
    ours = page.blocks("script")[1]
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function",
                 "fetch(", "XMLHttpRequest", "import("):
        assert word not in ours
    assert "innerHTML" not in page.blocks("script")[0] and "Leon Sorokin" in page.blocks("script")[0]


def test_the_timeline_comes_back_as_it_was() -> None:
    data = sample(3000)
    packed = columns(render.render(data))
    rows = sorted(data["timeline"]["rows"], key=lambda row: (row[0] is None, row[0] or 0))
    assert times(packed) == [row[0] for row in rows]
    assert [packed["paths"][number] for number in packed["path"]] == [row[2] for row in rows]
    assert packed["sizes"] == [row[3] for row in rows] and packed["uid"] == [row[5] for row in rows]
    assert [packed["partitions"][number] for number in packed["partition"]] == [row[4] for row in rows]
    assert [packed["modes"][number] for number in packed["mode"]] == [row[6] for row in rows]
    letters = ["".join(letter for bit, letter in enumerate("macb") if bits & 1 << bit) for bits in packed["what"]]
    assert letters == ["".join(letter for letter in "macb" if letter in row[1]) for row in rows]
    marked = {packed["paths"][packed["path"][row]] for row, _number, _severity in packed["findings"]}
    assert marked == {each["path"] for each in FINDINGS} & {row[2] for row in rows}


@pytest.mark.parametrize("when", [
    0, -1, 1, nanoseconds("1601-01-01T00:00:00", 1), nanoseconds("1969-12-31T23:59:59", 999_999_999),
    nanoseconds("2038-01-19T03:14:08", 1), nanoseconds("2446-05-10T22:38:55", 999_999_999), 1757648477123456789,
    (1 << 63) - 1, -(1 << 63), ((1 << 63) - 1) * 10**9 + 999_999_999, -(1 << 63) * 10**9, None])
def test_no_time_loses_a_nanosecond(when: int | None) -> None:
    rows = [[nanoseconds("2026-09-12T03:41:17", 5), "m", "/a", 1, "p1", 0, ""], [when, "b", "/b", 1, "p1", 0, ""]]
    assert sorted(times(columns(render.render({"timeline": {"rows": rows}}))), key=str) == sorted(
        [rows[0][0], when], key=str)


def test_sizes_that_no_number_of_a_script_holds_stay_exact() -> None:
    rows = [[1, "m", "/a", (1 << 63) + 1, "p1", 1 << 60]]
    packed = columns(render.render({"timeline": {"rows": rows}}))
    assert packed["sizes"] == [str((1 << 63) + 1)] and packed["uid"] == [str(1 << 60)]


@pytest.mark.slow
def test_a_hundred_thousand_entries_stay_small() -> None:
    data = sample(100_000)
    text = render.render(data)
    assert len(text.encode()) < SMALL
    packed = columns(text)
    assert len(packed["path"]) == 100_000
    assert {packed["paths"][packed["path"][row]] for row, _number, _severity in packed["findings"]} \
        >= {each["path"] for each in FINDINGS}
    assert "76 entries were left out" in text


@pytest.mark.slow
def test_names_that_do_not_shrink_cost_rows_and_not_the_report() -> None:
    dice = random.Random(3)
    noise = [[count * 10**9, "m", "/" + dice.randbytes(1500).hex(), 1, "p1", 0, "r"] for count in range(4000)]
    found = [finding("high", "odd", noise[0][2], dice.randbytes(500).hex(), "2026-09-12T03:41:17Z")]
    found += [finding("low", "odd", f"/tmp/{'<' * 2000}", "&" * 2000, "2026-09-12T03:41:17Z") for _ in range(2000)]
    table = {"columns": [{"key": "a"}], "rows": [{"a": "\"" * 2000}] * 3000}
    data = {"timeline": {"rows": noise}, "findings": found, "tables": [table], "warnings": ["<" * 2000] * 500}
    text = render.render(data)
    assert len(text.encode()) < SMALL
    packed = columns(text)
    assert 100 < len(packed["path"]) < 4000 and packed["paths"][packed["path"][0]] == noise[0][2]
    assert packed["paths"][packed["path"][-1]] == noise[-1][2]
    assert "more of severity low are in the JSON" in text and "more rows are in the JSON" in text


def test_the_same_data_gives_the_same_bytes() -> None:
    assert render.render(sample(2000)) == render.render(json.loads(json.dumps(sample(2000))))


def test_the_first_screen_says_what_matters(page: Page) -> None:
    start = "".join(page.text).split("Letters of times")[0]
    for text in ("snap-0123456789abcdef0", "INC-2026-0042", "the journal holds changes that are not applied",
                 "Debian GNU/Linux 12 (bookworm)", "156 MiB in 312 blocks", "36 findings: 2 critical, 3 high"):
        assert text in start
    shown = view.view(sample(10))
    assert [each["severity"] for each in shown["worst"]] == ["critical"] * 2 + ["high"] * 3
    assert shown["counts"] == [("critical", 2), ("high", 3), ("medium", 3), ("low", 4), ("info", 24)]


def test_without_a_script_everything_but_the_timeline_is_there(page: Page) -> None:
    shown = "".join(page.text)
    assert "The timeline needs JavaScript" in shown and "timeline.csv.gz" in shown
    for text in ("/etc/ld.so.preload", "a second account with UID 0", "holds changes that are not applied",
                 "/var/log/syslog.7.gz", FINDINGS[1]["sha256"], "2026-09-12 03:46:10"):
        assert text in shown


def test_headings_tables_and_landmarks(page: Page) -> None:
    tags = [tag for tag, _given in page.tags]
    assert [tags.count(tag) for tag in ("html", "header", "nav", "main", "footer", "h1")] == [1] * 6
    assert page.tags[0] == ("html", {"lang": "en"})
    assert tags.count("table") == tags.count("caption")
    assert all(given.get("scope") in ("col", "row") for tag, given in page.tags if tag == "th")
    regions = [given for _tag, given in page.tags if given.get("role") == "region"]
    ids = {given["id"] for _tag, given in page.tags if "id" in given}
    assert regions and all(given["aria-labelledby"] in ids and given["tabindex"] == "0" for given in regions)
    assert {given["href"][1:] for _tag, given in page.tags if "href" in given} <= ids


@pytest.mark.parametrize("data", [
    {}, {"timeline": {}}, {"findings": {}}, {"timeline": None, "findings": None, "source": None, "tables": None},
    {"findings": [{}], "tables": [{}], "partitions": [{}], "hashes": [{}], "facts": [{}]}])
def test_what_is_missing_is_no_problem(data: dict[str, Any]) -> None:
    assert "</html>" in render.render(data) and short_text(data)


@pytest.mark.parametrize(("data", "words"), [
    ({"schema": 2}, "has the schema '2', and this version of dfir.aws knows 1"),
    ([], "must be a JSON object"), ({"findings": "x"}, "'findings' of the report's data must be a list"),
    ({"tables": [1]}, "'tables' of"), ({"warnings": 5}, "'warnings' of"), ({"source": [1]}, "'source' of"),
    ({"timeline": {"rows": [["now", "m", "/a"]]}}, "Row 0 of the timeline must be"),
    ({"timeline": {"rows": [[1.5, "m", "/a"]]}}, "Row 0 of the timeline must be"),
    ({"timeline": {"rows": 5}}, "'timeline' of")])
def test_wrong_data_is_refused_in_a_sentence(data: Any, words: str) -> None:
    with pytest.raises(ReportError, match=re.escape(words)) as refusal:
        render.render(data)
    assert str(refusal.value).endswith(".") and "\n" not in str(refusal.value)


@pytest.mark.parametrize("data", [sample(5), hostile(), {}], ids=["sample", "hostile", "empty"])
def test_the_short_version_fits_a_mail(data: dict[str, Any]) -> None:
    lines = short_text(data, "report.html").splitlines()
    assert len(lines) <= 25 and all(len(line) <= 78 for line in lines)
    assert all(char.isprintable() for line in lines for char in line)


def test_the_short_version_says_what_the_report_says() -> None:
    text = short_text(sample(5), "report.html")
    for words in ("Disk triage: snap-0123456789abcdef0 (INC-2026-0042)",
                  "36 findings: 2 critical, 3 high, 3 medium, 4 low",
                  "critical  preload: /etc/ld.so.preload", "and 31 more", "p1: the journal holds changes",
                  "Report: report.html", "in timeline.csv.gz"):
        assert words in text
    assert "No findings." in short_text({"findings": []})
    assert "findings" not in short_text({})  # nobody looked for any


def test_what_the_short_version_cuts_gets_a_second_line_while_there_are_lines() -> None:
    text = short_text(sample(5), "report.html")
    assert "what happened last\n    may be missing here\n" in text
    assert len(text.splitlines()) == 25
    many = {"warnings": ["w" * 200] * 3, "findings": [finding("low", "k", "/p" * 100, "", "")] * 9}
    assert len([line for line in short_text(many).splitlines() if line.startswith("    ww")]) == 3


@pytest.mark.slow
def test_the_action_writes_once_and_tells_the_truth(tmp_path: Path) -> None:
    dest, data = tmp_path / "report.html", tmp_path / "triage.json"
    data.write_text(json.dumps(sample(200)))
    task: dict[str, Any] = {"data": str(data), "dest": str(dest), "json_dest": str(tmp_path / "copy.json")}
    tasks = [
        {"check_mode": True, "dfir.aws.case_report": task}, {"ansible.builtin.stat": {"path": str(dest)}},
        {"dfir.aws.case_report": task}, {"dfir.aws.case_report": task},
        {"dfir.aws.case_report": {"content": {"title": "<b>"}, "dest": str(dest)}},
        {"check_mode": True, "dfir.aws.case_report": task}, {"dfir.aws.case_report": task},
        {"dfir.aws.case_report": {"data": str(tmp_path / "none.json"), "dest": str(dest)}},
        {"dfir.aws.case_report": {"content": {"schema": 9}, "dest": str(dest)}},
        {"dfir.aws.case_report": {"data": str(data), "dest": str(tmp_path / "none" / "report.html")}},
        {"dfir.aws.case_report": {"data": str(data), "dest": str(data)}},
        {"dfir.aws.case_report": {"dest": str(dest)}},
    ]
    tasks = [{**each, "register": f"done{number}", "ignore_errors": True} for number, each in enumerate(tasks)]
    names = ", ".join(f"done{number}" for number in range(len(tasks)))
    tasks.append({"ansible.builtin.copy": {"dest": str(tmp_path / "result.json"),
                                           "content": f"{{{{ [{names}] | to_json }}}}"}})
    (tmp_path / "play.yml").write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(CHECKOUT / "collections"), "ANSIBLE_NOCOLOR": "1",
                   "ANSIBLE_LOCAL_TEMP": str(tmp_path / "local"), "ANSIBLE_REMOTE_TEMP": str(tmp_path / "remote")}
    ran = subprocess.run([str(Path(sys.executable).with_name("ansible-playbook")), "-i", "localhost,", "-c", "local",
                          "-e", f"ansible_python_interpreter={sys.executable}", str(tmp_path / "play.yml")],
                         env=environment, cwd=tmp_path, text=True, capture_output=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    checked, seen, first, again, other, would, back, missing, schema, folder, same, neither = json.loads(
        (tmp_path / "result.json").read_text())

    assert checked["changed"] and not seen["stat"]["exists"]
    assert [done["changed"] for done in (first, again, other, would, back)] == [True, False, True, True, True]
    assert {done["sha256"] for done in (checked, first, again, would, back)} == {
        hashlib.sha256(dest.read_bytes()).hexdigest()} != {other["sha256"]}
    assert first["path"] == str(dest) and first["bytes"] == dest.stat().st_size
    assert first["short"] == short_text(sample(200), "report.html")
    assert stat.S_IMODE(dest.stat().st_mode) == 0o600
    assert (tmp_path / "copy.json").read_bytes() == data.read_bytes()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    assert "cannot be read (No such file or directory)" in missing["msg"] and "knows 1" in schema["msg"]
    assert "name a file in a folder that exists" in folder["msg"] and "give each a path of its own" in same["msg"]
    assert "one of the following is required" in neither["msg"]
