# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of retention: what goes, and what must survive, in each case."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.dfir.aws.plugins.filter import request as requests
from ansible_collections.dfir.aws.plugins.module_utils.retention import Cases, Facts, Judge, why_held
from ansible_collections.dfir.aws.plugins.module_utils.retention_policy import checked

from tests.retention_kit import AWAY, CLASSES, HOME, NOW, Asked, Copied, ago, snap


@dataclass
class Case:
    """Copies by name, the records, and what becomes of each: a name is gone, or survives for the reason told."""

    name: str
    copies: dict[str, Copied]
    asked: list[Asked] = field(default_factory=lambda: [Asked()])
    survives: dict[str, str] = field(default_factory=dict)
    images: tuple[str, ...] = ()
    locks: dict[str, str] = field(default_factory=dict)
    shared: dict[str, str] = field(default_factory=dict)
    unreadable: tuple[str, ...] = ()


def one(name: str, survives: str, copy: Copied | None = None, *asked: Asked, **more: Any) -> Case:
    """A case of one copy, beside one that goes in any case."""
    beside = {"beside": Copied("beside")}
    return Case(name, {"it": copy or Copied(), **beside}, [*(asked or (Asked(),)), Asked("TRAINING-9", "beside")],
                {"it": survives} if survives else {}, **more)


CASES = [
    # What goes
    one("its time and its class' period are over", ""),
    one("the record is of today, and its class keeps nothing but a date that is past", "", Copied(expired=0.5),
        Asked("OVER-1", days=0.1)),
    one("several finished requests, all of their classes over", "", None, Asked(), Asked("TRAINING-1", days=40)),
    one("its record is of two days ago, its class keeps one day", "", Copied(expired=1), Asked("TRAINING-1", days=2)),
    one("a copy that failed", "", Copied(state="error")),
    one("an operator's own tag beside ours", "", Copied(tags={"team": "blue"})),
    one("AWS does not say how much is written", "", Copied(full_gib=None)),
    one("the tag names a class that is over as well", "", Copied(tags={"dfir:retention-class": "training"})),
    # What stays: within its period
    one("its tag says later", "within", Copied(expired=-0.01)),
    one("its class keeps it longer than its tag", "within", Copied(expired=1), Asked(days=29)),
    one("exactly on its last day it goes, a minute before it stays", "within", Copied(days=40, expired=1),
        Asked(days=30 - 1 / 1440)),
    one("the later of two requests counts", "within", None, Asked(), Asked(days=3)),
    one("a copy that is younger than the record", "within", Copied(days=2, expired=1), Asked(days=95)),
    one("its class has a date to come", "within", None, Asked("DATED-1")),
    one("one of two incidents has a date to come", "within", None, Asked("TRAINING-1"), Asked("DATED-1")),
    Case("the last two of an incident", {"a": Copied("a", 50), "b": Copied("b", 40), "c": Copied("c", 30)},
         [Asked("LAST-1", "a"), Asked("LAST-1", "b"), Asked("LAST-1", "c")], {"b": "within", "c": "within"}),
    Case("the last two of each incident by itself", {"a": Copied("a", 50), "b": Copied("b", 40), "c": Copied("c", 30)},
         [Asked("LAST-1", "a"), Asked("LAST-1", "b"), Asked("LAST-2", "c")],
         {"a": "within", "b": "within", "c": "within"}),
    Case("days and the last one have to agree", {"a": Copied("a", 50), "b": Copied("b", 40)},
         [Asked("BOTH-1", "a"), Asked("BOTH-1", "b")], {"b": "within"}),
    Case("copies in several regions count together", {"a": Copied("a", 50), "b": Copied("b", 40, region=AWAY),
                                                      "c": Copied("c", 30)},
         [Asked("LAST-1", "a"), Asked("LAST-1", "b", region=AWAY), Asked("LAST-1", "c")],
         {"b": "within", "c": "within"}),
    Case("one that failed is none of the last", {"a": Copied("a", 50), "b": Copied("b", 40),
                                                 "c": Copied("c", 30, state="error")},
         [Asked("LAST-1", name) for name in "abc"], {"a": "within", "b": "within"}),
    one("the tag names a class that keeps it", "within", Copied(days=20, expired=1,
                                                                tags={"dfir:retention-class": "cases"}),
        Asked("TRAINING-1", days=10)),
    # What stays: tag and record do not agree
    one("no record is of it", "no_record", None, Asked(source="another")),
    one("its request was analyzed in another region", "no_record", None, Asked(region=AWAY)),
    one("its request was for a snapshot of another region", "no_record", None, Asked(source_region=HOME)),
    one("an open request uses it", "open", None, Asked(state="open")),
    one("an open request beside a finished one", "open", None, Asked(), Asked(state="open", days=96)),
    one("an open request is for the copy itself", "open", None, Asked(),
        Asked(state="open", snapshot_id=snap("copy it"), source_region=HOME)),
    one("no class covers its incident", "no_class", None, Asked("CASE-1")),
    one("no class covers one of two incidents", "no_class", None, Asked(), Asked("CASE-1")),
    one("its tag names a class that there is not", "no_class", Copied(tags={"dfir:retention-class": "forever"})),
    Case("while a record cannot be read nothing goes", {"it": Copied()}, [Asked()], {"it": "unreadable"},
         unreadable=("requests/0123456789abcdef.json",)),
    # What stays: held
    one("its class is under legal hold", "legal_hold", None, Asked("HELD-1")),
    one("one of two incidents is under legal hold", "legal_hold", None, Asked(), Asked("HELD-1")),
    one("its own tag says legal hold", "legal_hold", Copied(tags={"dfir:legal-hold": "true"})),
    one("a hold without a value", "legal_hold", Copied(tags={"dfir:legal-hold": ""})),
    one("a hold that says false: only taking the tag off ends it", "legal_hold",
        Copied(tags={"dfir:legal-hold": "false"})),
    one("p37 it is locked", "locked", locks={"it": "compliance until 2030-01-01"}),
    one("p38 an image uses it", "image", images=("it",)),
    one("p38 it is shared with another account", "shared", shared={"it": "the account 999999999999"}),
    one("p38 it is public", "shared", shared={"it": "everybody (it is public)"}),
    one("p38 AWS Backup looks after it", "managed", Copied(tags={"aws:backup:source-resource": "x"})),
    one("p38 AWS Backup says so in its description", "managed",
        Copied(description="This snapshot is created by the AWS Backup service.")),
    one("Data Lifecycle Manager looks after it", "managed", Copied(tags={"aws:dlm:managed": "true"})),
    one("it lies in the Recycle Bin", "recycle_bin", Copied(state="recoverable")),
    one("it is being made", "state", Copied(state="pending")),
    Case("the last copy of an open case stays, an older one goes", {"old": Copied(days=60), "new": Copied(days=50)},
         [Asked(), Asked(source="another", state="open")], {"new": "last_copy"}),
    Case("of an open case each source keeps one", {"a": Copied("a"), "b": Copied("b")},
         [Asked(source="a"), Asked(source="b"), Asked(source="c", state="open")],
         {"a": "last_copy", "b": "last_copy"}),
    Case("another region's copy is one, too", {"here": Copied(days=60), "there": Copied(days=50, region=AWAY)},
         [Asked(), Asked(region=AWAY), Asked(source="another", state="open")], {"there": "last_copy"}),
    # What stays: it is not surely ours
    one("p39 evidence that somebody gave our tags to", "foreign", Copied(description="Disk of web-1")),
    one("p39 evidence that names itself as its source", "foreign",
        Copied(tags={"dfir:source-snapshot": snap("copy it"), "Name": f"dfir-copy-{snap('copy it')}"})),
    one("p38 no expiry", "foreign", Copied(tags={"dfir:expires": None})),
    one("an expiry that is no day", "foreign", Copied(tags={"dfir:expires": "2026-02-31T00:00:00Z"})),
    one("an expiry in another zone", "foreign", Copied(tags={"dfir:expires": "2020-01-01T00:00:00+02:00"})),
    one("p43 an expiry with a line break", "foreign", Copied(tags={"dfir:expires": f"{ago(90)}\n"})),
    one("another name", "foreign", Copied(tags={"Name": "dfir-copy-of-web"})),
    one("no name", "foreign", Copied(tags={"Name": None})),
    one("no source region", "foreign", Copied(tags={"dfir:source-region": None})),
    one("a source that is none", "foreign", Copied(tags={"dfir:source-snapshot": "web-1"})),
    one("a description of another source", "foreign", Copied(description=f"Copy of {snap('db')} from {AWAY}")),
]


def judged(case: Case, classes: Any = None) -> tuple[set[str], dict[str, str], Judge]:
    """Which copies go, and why the others stay."""
    cases = Cases(unreadable=list(case.unreadable))
    for asked in case.asked:
        cases.add(asked.record())
    judge = Judge(checked(classes or CLASSES), cases, NOW)
    names = {}
    for name, copy in case.copies.items():
        described = copy.described(name)
        names[described["SnapshotId"]] = name
        judge.look(described, copy.region)
    ids = {name: identifier for identifier, name in names.items()}
    facts = Facts({ids[name]: ["ami-1"] for name in case.images}, {ids[name]: how for name, how in case.locks.items()},
                  {ids[name]: [who] for name, who in case.shared.items()})
    goes, stays = set(), {}
    for copy in judge.due():
        code, reason = why_held(copy.id, facts)
        if code:
            judge.kept.append(judge.row(copy, code, reason))
        else:
            goes.add(names[copy.id])
    for row in (*judge.kept, *judge.foreign):
        assert row["reason"] and not row["reason"].endswith(".") and "\n" not in row["reason"]
        stays[names[row["id"]]] = row["code"]
    return goes, stays, judge


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_goes_and_what_survives(case: Case) -> None:
    goes, stays, judge = judged(case)
    within = {name for name, why in case.survives.items() if why == "within"}
    assert goes == set(case.copies) - set(case.survives)
    assert stays == {name: why for name, why in case.survives.items() if name not in within}
    assert sum(judge.within.values()) == len(within), "each that stays is counted"


def test_no_case_goes_without_its_record_and_none_without_its_tags() -> None:
    """Both have to agree: whatever goes in the table stays when either is taken away."""
    for case in CASES:
        goes, _stays, _judge = judged(case)
        assert not judged(Case(case.name, case.copies, [], images=case.images))[0]
        bare = {name: Copied(**{**vars(copy), "tags": {**copy.tags, "dfir:expires": None}})
                for name, copy in case.copies.items()}
        assert not judged(Case(case.name, bare, case.asked))[0]
        assert goes or case.unreadable or len(case.copies) > 1


def test_a_region_that_failed_half_way_loses_nothing() -> None:
    cases = Cases()
    for asked in (Asked(), Asked(source="beside"), Asked(source="far", region=AWAY)):
        cases.add(asked.record())
    judge = Judge(checked(CLASSES), cases, NOW)
    judge.look(Copied().described("a"), HOME)
    judge.look(Copied("far", region=AWAY).described("b"), AWAY)
    judge.forget(HOME)
    assert [copy.region for copy in judge.due()] == [AWAY]


def test_what_is_told_of_a_copy() -> None:
    case = one("sizes", "", Copied(full_gib=1.5), Asked(), Asked("TRAINING-1"))
    _goes, _stays, judge = judged(case)
    row = judge.row(next(copy for copy in judge.due() if copy.source == snap("web")), "expired", "x", tags=True)
    assert (row["gib"], row["size_known"], row["volume_gib"]) == (1.5, True, 8)
    assert row["incidents"] == ["INC-1", "TRAINING-1"] and row["classes"] == ["cases", "training"]
    assert len(row["requests"]) == 2 and row["tags"]["dfir:expires"] == row["expires"]
    unknown = judged(one("unknown", "", Copied(full_gib=None)))[2]
    row = unknown.row(next(copy for copy in unknown.due() if copy.source == snap("web")), "expired", "x")
    assert (row["gib"], row["size_known"]) == (8, False) and "tags" not in row


def test_a_record_that_is_none_is_no_record() -> None:
    for broken in ({}, {"request": {}}, {**Asked().record(), "state": "?"}, {**Asked().record(), "finished_at": "now"}):
        with pytest.raises((KeyError, ValueError)):
            Cases().add(broken)


def test_what_the_role_snapshot_makes_is_ours() -> None:
    """Tags and description as that role gives them: were they others, every copy would stay for ever."""
    tasks = yaml.safe_load((Path(requests.__file__).parents[2] / "roles/snapshot/tasks/copy.yml").read_text())
    [made] = [task["community.aws.ec2_snapshot_copy"] for task in tasks if "community.aws.ec2_snapshot_copy" in task]
    source = {"source_id": snap("web"), "source_region": AWAY}
    text = made["description"].replace("{{ item.", "{").replace(" }}", "}").format(**source)
    tags = requests.snapshot_copy_tags({"id": source["source_id"], "region": AWAY}, ago(90), "alias/dfir-evidence")
    copy = Copied(description=text, tags={**dict.fromkeys(Copied().all_tags()), **tags})
    assert judged(one("as the role makes it", "", copy))[0] == {"it", "beside"}


def test_order_of_looking_does_not_matter() -> None:
    names = "abcdef"
    asked = [Asked("LAST-1", name) for name in names]
    copies = {name: Copied(name, days=10 * number + 10) for number, name in enumerate(names)}
    wanted = judged(Case("in order", copies, asked))[0]
    assert wanted == set("cdef")
    assert judged(Case("reversed", dict(reversed(copies.items())), asked))[0] == wanted
