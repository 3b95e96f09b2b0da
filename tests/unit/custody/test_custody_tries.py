# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Work that fails, is killed and is done again: what the ledger says of it, and what it says once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.dfir.aws.plugins.module_utils.custody import verify
from ansible_collections.dfir.aws.plugins.module_utils.custody.errors import Closed, StoreError
from ansible_collections.dfir.aws.plugins.module_utils.custody.ledger import Ledger
from ansible_collections.dfir.aws.plugins.module_utils.custody.stores import FolderStore
from ansible_collections.dfir.aws.plugins.module_utils.custody_keep import standing, told_of

from tests.unit.custody.custody_kit import INCIDENT, Case, key, told


def begins(event: str = "image/1", **more: Any) -> dict[str, Any]:
    return told(phase="intent", result="begun", **more) | {"event": event}


def ends(event: str = "image/1", result: str = "ok", **more: Any) -> dict[str, Any]:
    return told(phase="outcome", result=result, **more) | {"event": event}


def names(case: Case) -> list[tuple[str, str, str]]:
    ledger = Ledger(case.store, case.incident)
    ledger.refresh()
    return [(written.value["event"], written.value["phase"], written.value["result"])
            for written in ledger._events.values()]


@pytest.mark.parametrize(("runs", "said"), [
    ([[begins()], [ends()]], [("image/1", "intent", "begun"), ("image/1", "outcome", "ok")]),
    # The same once more: nothing, as long as every run of it is the same work ...
    ([[begins()], [ends()], [begins()], [ends()]], [("image/1", "intent", "begun"), ("image/1", "outcome", "ok")]),
    # ... and another event where every run is new work.
    ([[begins(repeats=True)], [ends(repeats=True)]] * 2,
     [("image/1", "intent", "begun"), ("image/1", "outcome", "ok"), ("image/1/again-2", "intent", "begun"),
      ("image/1/again-2", "outcome", "ok")]),
    # Killed: the next run ends what the first one began.
    ([[begins()], [begins()], [ends()]], [("image/1", "intent", "begun"), ("image/1", "outcome", "ok")]),
    # Failed twice, and tried again.
    ([[begins()], [ends(result="failed")], [begins()], [ends(result="failed")], [begins()], [ends()]],
     [("image/1", "intent", "begun"), ("image/1", "outcome", "failed"), ("image/1/again-2", "intent", "begun"),
      ("image/1/again-2", "outcome", "failed"), ("image/1/again-3", "intent", "begun"),
      ("image/1/again-3", "outcome", "ok")]),
    # The ledger could not be written when it began: the whole is said at once.
    ([[ends()]], [("image/1", "record", "ok")]),
    # It came out otherwise than before, without an intent.
    ([[begins()], [ends()], [ends(object={"kind": "image", "id": "other", "sha256": None, "place": ""})]],
     [("image/1", "intent", "begun"), ("image/1", "outcome", "ok"), ("image/1/again-2", "record", "ok")]),
])
def test_what_is_tried_again_has_a_name_of_its_own(
        tmp_path: Path, runs: list[list[Mapping[str, Any]]], said: list[tuple[str, str, str]]) -> None:
    case = Case(tmp_path)
    for entries in runs:
        Ledger(case.store, case.incident).append_tries(entries)  # each by a run that knows nothing of the others
    assert names(case) == said
    Ledger(case.store, case.incident).sign(key())
    assert verify.verify(case.store, case.incident, key().read()).state == "valid"


def test_several_entries_cost_one_listing_unless_somebody_is_faster(tmp_path: Path) -> None:
    class Counting(FolderStore):
        listed = 0

        def names(self, prefix: str, after: str = "") -> list[str]:
            self.listed += 1
            return super().names(prefix, after)

    case, store = Case(tmp_path), Counting(tmp_path)
    ledger = Ledger(store, INCIDENT, pause=lambda _seconds: None)
    written = ledger.append_all([told(number) for number in range(1, 6)])
    assert [one.number for one in written] == [1, 2, 3, 4, 5]
    assert store.listed == 1
    case.ledger.append(told(6))
    assert ledger._append(told(7)).number == 7, "it lost number 6, and took the next"
    assert not any(written.changed for written in ledger.append_all([told(number) for number in range(1, 8)]))
    # What is recorded stays so, in whatever words it is told later.
    assert not ledger.append_all([told(3) | {"details": {"number": 99}}])[0].changed


def test_a_ledger_that_cannot_be_written_is_told_and_one_that_is_closed_stops_new_work(tmp_path: Path) -> None:
    case = Case(tmp_path)

    def lost() -> bool:
        raise StoreError("The bucket is on fire.")

    changed, stands = told_of(case.ledger, lost, None)
    assert not changed and stands["problem"] == "The bucket is on fire." and "CUSTODY IS NOT COMPLETE" in stands["line"]
    with pytest.raises(StoreError):
        told_of(case.ledger, lost, None, lenient=False)
    case.fill()
    changed, stands = told_of(case.ledger, lambda: False, key)
    assert not changed and stands["signed"] and stands["head"] == f"6:{case.ledger.sha256}" and not stands["problem"]
    assert stands["head"] in stands["line"]
    case.close()
    with pytest.raises(Closed, match="closed by entry 7"):
        told_of(Ledger(case.store, INCIDENT), lambda: False, None, refuse_closed=True)
    # Work that is over by then is told, and not stopped.
    late = Ledger(case.store, INCIDENT)
    _changed, stands = told_of(late, lambda: bool(late.append_tries([told(9)])), key)
    assert "closed by entry 7" in stands["problem"]
    assert "No ledger" not in stands["line"] and "no ledger of X is kept" in standing("X", kept=False)["line"]
