# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a request will take, what it costs, and when that is too much."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.dfir.aws.plugins.filter import plan as filters
from ansible_collections.dfir.aws.plugins.filter.analysis_hosts import analysis_host_outline, scratch_gib
from ansible_collections.dfir.aws.plugins.filter.request import longest_hours, request_result, time_limit_hours
from ansible_collections.dfir.aws.plugins.filter.snapshots import choose_snapshot, snapshot_find_result
from ansible_collections.dfir.aws.plugins.module_utils import prices

FOLDER = Path(filters.__file__).parent
DEFAULTS = yaml.safe_load((FOLDER.parents[1] / "roles/plan/defaults/main.yml").read_text(encoding="utf-8"))
TABLES = DEFAULTS["plan_default_prices"]
# Round numbers, to be calculated by hand.
OURS = [{"item": item, "as_of": "2026-11-01", "source": "contract", "prices": {"eu-west-1": price, "us-east-1": price}}
        for item, price in (("host", {"m6i": 0.05}), ("volume", 0.073), ("snapshot", 0.0365), ("transfer", 0.02),
                            ("blocks", 0.003))]
REQUEST: dict[str, Any] = {"request_id": "0123456789abcdef", "mode": "automatic", "time_limit_hours": None,
                           "analysis_region": "eu-west-1", "max_cost_usd": None, "journal": "ignore"}
COPY = {"how": "copy", "id": "snap-1", "volume_gib": 100, "full_bytes": 40 * 2**30, "pending": False,
        "source_id": "snap-1", "source_region": "us-east-1"}
LOOKED = {"image": {"image_id": "ami-1", "root_volume_gib": 8},
          "instance_type": {"name": "m6i.large", "vcpus": 2, "memory_mib": 8192, "architectures": ["x86_64"]}}


def test_check_mode_ends_in_one_place() -> None:
    """Whoever asks for check mode anywhere else takes part in deciding where it ends."""
    root = FOLDER.parents[1]
    files = [path for folder in ("playbooks", "roles") for path in (root / folder).rglob("*.yml")]
    # Imaging, triage and comparing launch no host and make no plan: their check mode goes through, without what needs
    # the image or what was seen. Closing by hand makes none either: its check mode ends when it has said what it would
    # do. Retention goes through as well, and writes no report; closing a case reads and compares. Sharing, containing
    # and setting up an account say plans of their own.
    others = (*(root / "roles" / name
                for name in ("image", "imaging_host", "retention", "toolbox_image", "triage", "compare",
                             "event", "custody", "acquisition", "containment", "sharing", "account_setup",
                             "aap_import")),
              *(root / "playbooks" / f"{name}.yml"
                for name in ("image_snapshot", "summarize_images", "close_request", "triage_snapshot",
                             "compare_snapshots", "answer_event", "close_case", "acquire_instance",
                             "contain_instance")))
    asking = {path.relative_to(root).as_posix() for path in files
              if "ansible_check_mode" in path.read_text(encoding="utf-8")
              and not any(path.is_relative_to(place) for place in others)}
    assert asking == {"playbooks/analyze_request.yml", "roles/plan/tasks/main.yml", "roles/plan/tasks/make.yml"}
    for name in asking - {"playbooks/analyze_request.yml"}:
        assert "not ansible_check_mode" not in (root / name).read_text(encoding="utf-8")


def host(request: dict[str, Any], volume: int, kind: str, vcpus: int) -> dict[str, Any]:
    """The host as role analysis_host would launch it, by that role's own filters."""
    looked = {**LOOKED, "instance_type": {**LOOKED["instance_type"], "name": kind, "vcpus": vcpus}}
    hours = time_limit_hours(request, volume)
    return analysis_host_outline(looked, hours, scratch_gib(volume), longest_hours(request, hours))


def make(found: dict[str, Any] = COPY, tables: Any = OURS, *, kind: str = "m6i.large", vcpus: int = 2, limit: Any = "",
         **fields: Any) -> dict[str, Any]:
    return several([found], tables, kind=kind, vcpus=vcpus, limit=limit, **fields)


def several(found: list[dict[str, Any]], tables: Any = OURS, *, kind: str = "m6i.large", vcpus: int = 2,
            limit: Any = "", **fields: Any) -> dict[str, Any]:
    request, volume = {**REQUEST, **fields}, sum(snapshot["volume_gib"] for snapshot in found)
    return filters.request_plan(request, {"snapshots": found, "volume_gib": volume},
                                host(request, volume, kind, vcpus), tables, max_cost_usd=limit)


def cost(plan: dict[str, Any]) -> dict[str, float]:
    return {item["name"]: item["usd"] for item in plan["items"]}


@pytest.mark.parametrize("name", filters.FilterModule().filters())
def test_every_filter_has_its_documentation(name: str) -> None:
    document = yaml.safe_load((FOLDER / f"{name}.yml").read_text(encoding="utf-8"))
    assert document["DOCUMENTATION"]["name"] == name and document["EXAMPLES"] and document["RETURN"]


def test_the_estimate_is_what_the_formula_of_the_manual_gives() -> None:
    plan = make()
    # 2 hours and one for each 25 GiB; 8 + (30 + 100) + 100 GiB of volumes
    assert (plan["host"]["hours"], plan["volumes_gib"], plan["data_gib"], plan["copied_gib"]) == (6, 238, 40, 40)
    assert cost(plan) == {"copy transfer": 0.8, "copy 168 h": pytest.approx(40 * 0.0365 * 168 / 730, abs=1e-4),
                          "host": pytest.approx(0.6), "volumes": pytest.approx(238 * 6 * 0.0001, abs=1e-4)}
    assert plan["total_usd"] == pytest.approx(0.8 + 0.336 + 0.6 + 0.1428, abs=0.005)
    assert plan["currency"] == "USD" and "taxes and discounts" in plan["not_included"]
    assert plan["expected_hours"] == pytest.approx(70 / 60, abs=0.01)


def test_blocks_are_counted_where_the_evidence_comes_by_them() -> None:
    plan = make(evidence_by="direct")
    assert cost(plan)["blocks"] == pytest.approx(40 * 2048 / 1000 * 0.003, abs=1e-3)
    assert plan["expected_hours"] == pytest.approx((70 + 40 * 2048 / 980 / 60) / 60, abs=0.01)
    assert "filled block by block" in " ".join(" ".join(line[10:] for line in filters.plan.table(plan)).split())
    twice = make(evidence_by="direct", journal="auto")
    assert cost(twice)["blocks"] == pytest.approx(2 * cost(plan)["blocks"], abs=1e-3)
    assert "blocks" not in cost(make(evidence_by="volume")) and "filled" not in str(filters.plan.table(make()))


def test_a_session_is_counted_to_the_end_that_the_analyst_may_move_it_to() -> None:
    plan = make(mode="manual", time_limit_hours=4, max_hours=10)
    assert (plan["host"]["hours"], plan["host"]["longest_hours"]) == (4, 10)
    assert cost(plan)["host"] == pytest.approx(1.0) and cost(plan)["volumes"] == pytest.approx(238 * 10 * 0.0001)
    assert any("at most 4 h, with extensions 10 h" in line for line in filters.plan.table(plan))
    assert "host 10 h" in filters.plan.in_short(plan)
    sentence = filters.plan.refusal(make(mode="manual", time_limit_hours=4, max_hours=10, max_cost_usd=1))
    assert "time_limit_hours, now 4; max_hours, now 10" in sentence
    # An automatic analysis is bounded by it, and never prolonged.
    assert make(time_limit_hours=4, max_hours=10)["host"]["longest_hours"] == 4
    assert make(time_limit_hours=40, max_hours=10)["host"]["hours"] == 10


def test_a_plan_of_an_older_record_is_still_shown() -> None:
    plan = make()
    del plan["host"]["longest_hours"]
    assert any("at most 6 h" in line for line in filters.plan.table(plan, kept=True))
    assert "host 6 h" in filters.plan.in_short(plan)


@pytest.mark.parametrize("how", ["itself", "reuse"])
def test_without_a_copy_nothing_is_transferred(how: str) -> None:
    plan = make({**COPY, "how": how})
    assert plan["copied_gib"] == 0 and set(cost(plan)) == {"host", "volumes"}


def test_where_aws_does_not_say_how_much_is_written_the_whole_volume_counts() -> None:
    plan = make({**COPY, "full_bytes": None})
    assert plan["copied_gib"] == 100 and not plan["snapshots"][0]["data_known"]
    assert any("AWS does not say" in line for line in filters.plan.table(plan))
    assert make({**COPY, "full_bytes": 0})["copied_gib"] == 0


@pytest.mark.parametrize("journal", ["auto", "both"])
def test_a_second_volume_for_journals_counts_whether_or_not_it_will_be_needed(journal: str) -> None:
    without, plan = make(), make(journal=journal)
    assert (without["journal_gib"], plan["journal_gib"]) == (0, 100)
    assert plan["volumes_gib"] == without["volumes_gib"] + 100
    assert cost(plan)["volumes"] - cost(without)["volumes"] == pytest.approx(100 * 6 * 0.0001, abs=1e-3)
    text = " ".join(" ".join(line[10:] for line in filters.plan.table(plan)).split())
    assert "evidence 100, journals up to 100" in text
    assert not any("journals" in line for line in filters.plan.table(without))


def test_all_copies_and_volumes_of_several_snapshots_count() -> None:
    plan = several([COPY, {**COPY, "id": "snap-9", "source_id": "snap-2", "volume_gib": 50, "how": "itself"},
                    {**COPY, "id": "snap-3", "source_id": "snap-3", "volume_gib": 20, "full_bytes": None}])
    assert (plan["volume_gib"], plan["copied_gib"], plan["data_gib"]) == (170, 60, 100)
    assert plan["volumes_gib"] == 8 + (30 + 170) + 170
    assert [snapshot["id"] for snapshot in plan["snapshots"]] == ["snap-1", "snap-2", "snap-3"]
    text = "\n".join(filters.plan.table(plan))
    assert "2 of 3 snapshots, 60.0 GiB from us-east-1 to eu-west-1" in text
    assert all(f"{name} in us-east-1" in text for name in ("snap-1", "snap-2", "snap-3"))


def test_the_expected_duration_is_never_longer_than_the_limit_and_a_manual_one_is_not_guessed() -> None:
    assert make(time_limit_hours=0.5)["expected_hours"] == 0.5
    assert any("the analyst ends it" in line for line in filters.plan.table(make(mode="manual")))


@pytest.mark.parametrize(("operator", "own", "limit", "whose"), [
    ("", None, None, ""), ("5", None, 5, "dfir_aws_max_cost_usd"), (5, 2, 2, "max_cost_usd"),
    (1, 2, 1, "dfir_aws_max_cost_usd"), (None, 2, 2, "max_cost_usd"), (0, None, 0, "dfir_aws_max_cost_usd")])
def test_the_lower_limit_counts(operator: Any, own: Any, limit: Any, whose: str) -> None:
    plan = make(limit=operator, max_cost_usd=own)
    assert (plan["max_cost_usd"], plan["limited_by"]) == (limit, whose)
    assert bool(filters.plan.refusal(plan)) == (limit is not None and limit < plan["total_usd"])


def test_a_plan_above_its_limit_is_refused_in_one_sentence() -> None:
    sentence = filters.plan.refusal(make(max_cost_usd=1))
    for word in ("up to 1.88 USD", "the limit of 1.00 USD (max_cost_usd)", "host 0.60", "time_limit_hours, now 6"):
        assert word in sentence
    assert sentence.count(". ") == 0 and "\n" not in sentence
    assert filters.plan.refusal(make(max_cost_usd=1.88)) == "", "exactly the limit is within it"


def test_a_host_without_a_price_is_refused_under_a_limit_and_only_there() -> None:
    free = make(kind="x9z.large")
    assert free["total_usd"] is None and free["unpriced"] == ["host"] and filters.plan.refusal(free) == ""
    assert any("unknown for host" in line for line in filters.plan.table(free))
    assert "no price" in filters.plan.in_short(free)
    sentence = filters.plan.refusal(make(kind="x9z.large", limit=100))
    assert "no price is known for host (x9z.large in eu-west-1)" in sentence and "dfir_aws_prices" in sentence


@pytest.mark.parametrize("wrong", ["many", -1, "nan", "inf", True, [3]])
def test_an_operators_limit_that_is_none_is_said(wrong: Any) -> None:
    with pytest.raises(AnsibleFilterError, match="dfir_aws_max_cost_usd must be a number"):
        make(limit=wrong)


def test_the_table_shows_every_number_where_it_comes_from_and_what_is_missing() -> None:
    plan = make(limit=25)
    lines = filters.plan.table(plan, check_mode=True)
    assert not [line for line in lines if ": " in line or line.startswith(" ")], "Ansible would quote such a line"
    text = " ".join(" ".join(line[10:] for line in lines).split())
    for word in ("40.0 GiB written of 100 GiB", "from us-east-1 to eu-west-1", "m6i.large (2 vCPU, 8 GiB)",
                 "at most 6 h", "root 8, scratch 130, evidence 100", "25.00 USD (dfir_aws_max_cost_usd)",
                 "2026-11-01, contract", "taxes and discounts", "cannot be predicted"):
        assert word in text, word
    assert len(lines) < 24 and max(map(len, lines)) < 76
    assert "cannot be predicted" not in "\n".join(filters.plan.table(plan))
    assert len(filters.plan.in_short(plan)) < 76


def test_a_price_of_another_region_is_said() -> None:
    tables = [{**table, "prices": {"us-east-1": table["prices"]["us-east-1"]}} for table in OURS]
    plan = make(tables=tables)
    assert plan["total_usd"] == make()["total_usd"]
    said = "Prices    of us-east-1, for want of others, for copy"
    assert any(line.startswith(said) for line in filters.plan.table(plan))
    assert not any("for want of" in line for line in filters.plan.table(make()))


class TestPrices:
    def test_the_operators_tables_come_first(self) -> None:
        own = {"item": "volume", "as_of": "today", "source": "x", "prices": {"*": 1}}
        assert prices.find([own, *TABLES], "volume", "eu-west-1").usd == 1
        assert prices.find([own, *TABLES], "snapshot", "us-east-1").usd == 0.05
        assert prices.find(TABLES, "volume", "mars-north-1").stand_in
        assert not prices.find(TABLES, "volume", "us-east-1").stand_in

    def test_an_instance_types_own_price_is_for_the_whole_host(self) -> None:
        own = [{**OURS[0], "prices": {"eu-west-1": {"c6i.4xlarge": 0.7, "c6i": 9}}}, *OURS]
        assert cost(make(tables=own, kind="c6i.4xlarge", vcpus=16))["host"] == pytest.approx(4.2)
        assert cost(make(tables=own, kind="c6i.large"))["host"] == pytest.approx(9 * 2 * 6)
        assert cost(make(tables=own))["host"] == pytest.approx(0.6), "a family that it lacks comes from the next table"

    def test_the_default_tables_are_sound_dated_and_sourced(self) -> None:
        assert prices.checked(TABLES) == TABLES
        assert {table["item"] for table in TABLES} == set(prices.ITEMS)
        assert all("not checked with AWS" in table["source"] for table in TABLES)
        assert all(prices.find(TABLES, item, prices.REFERENCE, ("m6i",)) for item in prices.ITEMS)

    @pytest.mark.parametrize(("change", "said"), [
        ({"item": "hosts"}, "has no item out of host, volume"), ({"as_of": ""}, "does not say as_of"),
        ({"source": None}, "does not say source"), ({"prices": {}}, "has no prices"),
        ({"prices": [1]}, "has no prices"),
        ({"prices": {"eu-west-1": "0.08"}}, "what is no price"), ({"prices": {"eu-west-1": -1}}, "what is no price"),
        ({"prices": {"eu-west-1": True}}, "what is no price"),
        ({"item": "host", "prices": {"eu-west-1": 1}}, "one price for all hosts")])
    def test_a_table_that_is_none_is_one_sentence(self, change: dict[str, Any], said: str) -> None:
        with pytest.raises(AnsibleFilterError, match=rf"Table 2 of the prices \(dfir_aws_prices\).*{said}"):
            make(tables=[OURS[0], {**OURS[1], **change}])
        with pytest.raises(AnsibleFilterError, match="must be a list"):
            make(tables={"a": 1})


class TestFound:
    SOURCE = [{"snapshot_id": "snap-1", "volume_size": 8, "state": "completed", "full_snapshot_size_in_bytes": 2**30}]

    def test_a_copy_to_be_made_has_the_sizes_of_its_source(self) -> None:
        found = snapshot_find_result(choose_snapshot([], [], "snap-1", "us-east-1"), self.SOURCE, "snap-1", "us-east-1")
        assert (found["how"], found["volume_gib"], found["full_bytes"], found["pending"]) == ("copy", 8, 2**30, False)

    def test_an_old_snapshot_says_nothing_about_what_is_written(self) -> None:
        old = [{"snapshot_id": "snap-1", "volume_size": 8, "state": "completed"}]
        found = snapshot_find_result(choose_snapshot(old, [], "snap-1", "us-east-1"), [], "snap-1", "us-east-1")
        assert (found["how"], found["full_bytes"]) == ("itself", None)


class TestRunningRequest:
    def opened(self, *names: str, outcome: str = "ok") -> dict[str, Any]:
        steps = [{"name": name, "outcome": outcome, "details": {"of": name, "items": [1]}} for name in names]
        request = {**REQUEST, "artifact_bucket": "b", "artifact_prefix": "p/", "attempt": 1}
        return request_result(request, {"adopted": True, "record": {"steps": steps}}, "me", "eu-west-1")

    def test_what_the_record_says_decides(self) -> None:
        running = self.opened("plan", "snapshot", "analysis_host")
        assert running["launched"] and filters.kept_plan(running) == {"of": "plan", "items": [1]}
        assert not self.opened("plan", "snapshot")["launched"]
        failed = self.opened("plan", "analysis_host", outcome="failed")
        assert not failed["launched"] and failed["plan"] == {}

    def test_what_earlier_runs_found_on_the_host_is_told_although_it_is_gone(self) -> None:
        assert self.opened("evidence", "journal")["earlier"]["evidence"]["of"] == "journal", "evidence and more"
        assert self.opened("evidence")["earlier"] == {
            "evidence": {"of": "evidence", "items": [1]}, "toolbox": {}, "analyst_access": {}}

    def test_a_host_without_a_kept_plan_is_said_and_is_no_failure(self) -> None:
        plan = filters.kept_plan({**REQUEST, "plan": {}})
        assert "has a host already, and no plan" in filters.plan.table(plan, kept=True)[0]
        assert filters.plan.in_short(plan) == "not estimated"
        assert "as made when its host was launched" in filters.plan.table(make(), kept=True)[0]
