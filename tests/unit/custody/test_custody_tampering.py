# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whoever may write where the ledger lies, but cannot sign, changes nothing that is signed without being found.

Every case is done to a ledger that is closed and to one that is not yet (entry 3 of 6 and entry 6 are signed, and so is
the closing entry 7), and what is named is the first place that does not fit.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.dfir.aws.plugins.module_utils.custody import rsa, verify
from ansible_collections.dfir.aws.plugins.module_utils.custody.canonical import canonical, digest, parsed
from ansible_collections.dfir.aws.plugins.module_utils.custody.errors import BadInput
from ansible_collections.dfir.aws.plugins.module_utils.custody.ledger import Ledger

from tests.unit.custody.custody_kit import ACTOR, INCIDENT, Case, key, told

LAST = 6


def edit(case: Case) -> None:
    case.change(2, actor={**ACTOR, "name": "mallory"})


def edit_and_chain(case: Case) -> None:
    edit(case)
    case.rechain()


def edit_the_last(case: Case) -> None:
    case.change(LAST, result="failed")


def drop(case: Case) -> None:
    case.entry(2).unlink()


def drop_and_chain(case: Case) -> None:
    drop(case)
    case.rechain()


def drop_the_first(case: Case) -> None:
    case.entry(1).unlink()


def insert(case: Case) -> None:
    for number in range(9, 2, -1):
        if case.entry(number).exists():
            case.entry(number).rename(case.entry(number + 1))
    case.entry(3).write_bytes(canonical({**parsed(case.entry(2).read_bytes()), "number": 3, "event": "forged"}))


def insert_and_chain(case: Case) -> None:
    insert(case)
    case.rechain()


def reorder(case: Case) -> None:
    one, two = case.entry(1).read_bytes(), case.entry(2).read_bytes()
    case.entry(1).write_bytes(two)
    case.entry(2).write_bytes(one)


def reorder_and_chain(case: Case) -> None:
    reorder(case)
    case.rechain()


def spell_otherwise(case: Case) -> None:
    case.entry(2).write_bytes(case.entry(2).read_bytes().replace(b'{"action"', b'{ "action"', 1))


def name_otherwise(case: Case) -> None:
    case.entry(2).rename(case.entry(2).with_name("000000002.json.bak"))


def another_incident(case: Case) -> None:
    other = Case(case.root.parent / "other", "INC-other").fill()
    shutil.copy(other.entry(2), case.entry(2))


def another_incident_with_our_name(case: Case) -> None:
    other = Case(case.root.parent / "other", "INC-other").fill()
    for number in range(1, LAST + 1):
        shutil.copy(other.entry(number), case.entry(number))
        case.change(number, incident=INCIDENT)
    case.rechain()
    for number in (3, 6):
        shutil.copy(other.signature(number), case.signature(number))


def swap_an_artifact(case: Case) -> None:
    (case.root / INCIDENT / "snap-1/a4.txt").write_bytes(b"content 5")


def take_an_artifact(case: Case) -> None:
    (case.root / INCIDENT / "snap-1/a4.txt").unlink()


def swap_an_artifact_for_a_link(case: Case) -> None:
    path = case.root / INCIDENT / "snap-1/a4.txt"
    path.rename(case.root / "elsewhere")
    path.symlink_to(case.root / "elsewhere")


def sign_with_another_key(case: Case) -> None:
    for number in (3, 6, 7):
        case.signature(number).unlink(missing_ok=True)
    Ledger(case.store, INCIDENT).sign(key("two"))


def sign_with_another_key_in_our_keys_name(case: Case) -> None:
    sign_with_another_key(case)
    last = 7 if case.entry(7).exists() else 6
    made = parsed(case.signature(last).read_bytes())
    made["key"] = {"name": key().name, "sha256": key().read().fingerprint}
    case.signature(last).write_bytes(canonical(made))


def replay_an_old_signature(case: Case) -> None:
    edit_and_chain(case)
    case.signature(3).rename(case.signature(4))


def change_a_signed_statement(case: Case) -> None:
    edit_and_chain(case)
    made = parsed(case.signature(3).read_bytes())
    made["statement"]["head"] = digest(case.entry(3).read_bytes())
    case.signature(3).write_bytes(canonical(made))


def break_a_signature(case: Case) -> None:
    case.signature(3).write_bytes(b"{}")


FORGERIES: dict[Callable[[Case], None], tuple[str, str]] = {
    edit: ("entries/000000003.json", "Entry 3 does not carry the hash of the entry before it"),
    edit_and_chain: ("signatures/000000003.json", "The signature of entry 3 was made for another entry 3"),
    edit_the_last: ("signatures/000000006.json", "The signature of entry 6 was made for another entry 6"),
    drop: ("entries/000000002.json", "Entry 2 is missing, and later ones are there"),
    drop_and_chain: ("signatures/000000003.json", "The signature of entry 3 was made for another entry 3"),
    drop_the_first: ("entries/000000001.json", "Entry 1 is missing, and later ones are there"),
    insert: ("entries/000000003.json", "Entry 3 does not carry the hash of the entry before it"),
    insert_and_chain: ("signatures/000000003.json", "The signature of entry 3 was made for another entry 3"),
    reorder: ("entries/000000001.json", "Entry 1 says that it is entry 2"),
    reorder_and_chain: ("signatures/000000003.json", "The signature of entry 3 was made for another entry 3"),
    spell_otherwise: ("entries/000000002.json", "not written in the one form that a ledger has"),
    name_otherwise: ("entries/000000002.json.bak", "is no entry of this ledger"),
    another_incident: ("entries/000000002.json", "Entry 2 is of another incident (INC-other)"),
    another_incident_with_our_name: ("signatures/000000003.json", "was made for another incident (INC-other)"),
    swap_an_artifact: ("snap-1/a4.txt", "has not the content that"),
    take_an_artifact: ("snap-1/a4.txt", "is missing"),
    swap_an_artifact_for_a_link: ("snap-1/a4.txt", "is missing"),
    sign_with_another_key: ("signatures/", "is by another key (arn:aws:kms:eu-west-1:123456789012:key/two"),
    sign_with_another_key_in_our_keys_name: ("signatures/", "is wrong: the given key did not sign this"),
    replay_an_old_signature: ("signatures/000000004.json", "was made for entry 3 and lies at the place of entry 4"),
    change_a_signed_statement: ("signatures/000000003.json", "is wrong: the given key did not sign this"),
    break_a_signature: ("signatures/000000003.json", "The signature of entry 3 is no signature of this format"),
}


def checked(case: Case) -> verify.Verdict:
    return verify.verify(case.store, INCIDENT, key().read())


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path / "case").fill(LAST)


@pytest.mark.parametrize("closed", [False, True], ids=["open", "closed"])
@pytest.mark.parametrize("forge", FORGERIES, ids=lambda forge: forge.__name__)
def test_tampering_is_found_and_named(case: Case, forge: Callable[[Case], None], closed: bool) -> None:
    if closed:
        case.close()
    assert checked(case).state == "valid"
    forge(case)
    place, sentence = FORGERIES[forge]
    verdict = checked(case)
    assert verdict.state == "invalid"
    assert place in verdict.place
    assert sentence in verdict.problem


def test_a_ledger_that_lost_its_end_is_found_by_its_signature(case: Case) -> None:
    for number in (5, 6):
        case.entry(number).unlink()
    verdict = checked(case)
    assert (verdict.state, len(verdict.entries)) == ("invalid", 4)
    assert verdict.place.endswith("entries/000000005.json")
    assert verdict.problem == "Entry 5 is missing: there is a signature of entry 6, so the ledger was longer."


def test_a_ledger_that_lost_its_end_and_its_signature_is_found_by_a_noted_head(case: Case) -> None:
    """Nothing in the case can tell then: that is what noting the head elsewhere, and Object Lock, are for."""
    noted = verify.Noted.read(f"6:{checked(case).head}")
    assert verify.verify(case.store, INCIDENT, key().read(), noted=noted).state == "valid"
    for number in (4, 5, 6):
        case.entry(number).unlink()
    case.signature(6).unlink()
    verdict = verify.verify(case.store, INCIDENT, key().read(), noted=noted)
    assert verdict.problem == "Entry 4 is missing: somebody noted the hash of entry 6 outside the case."
    other = verify.Noted(2, "0" * 64)
    assert "Entry 2 is not the one that was noted" in verify.verify(
        case.store, INCIDENT, key().read(), noted=other).problem


def test_a_closed_case_that_lost_its_closing_is_found(case: Case) -> None:
    case.close()
    case.entry(7).unlink()
    assert checked(case).problem == "Entry 7 is missing: there is a signature of entry 7, so the ledger was longer."


def test_a_tail_that_nobody_signed_is_not_called_valid(case: Case) -> None:
    case.ledger.append(told(7))
    verdict = checked(case)
    assert (verdict.state, verdict.signed) == ("unsigned", 6)
    assert verdict.problem.startswith("Entries 7 to 7 are not covered by a signature")


def test_a_ledger_without_any_signature_is_not_called_valid(case: Case) -> None:
    shutil.rmtree(case.signature(3).parent)
    edit_and_chain(case)
    assert checked(case).state == "unsigned"


def test_what_came_after_the_closing_is_found(case: Case) -> None:
    case.close()
    before = case.entry(7).read_bytes()
    case.entry(8).write_bytes(canonical({**parsed(before), "number": 8, "before": digest(before), "event": "late",
                                         "action": "note"}))
    assert checked(case).problem == "Entry 8 comes after the one that closed the case."


@pytest.mark.parametrize(("name", "content", "sentence"), [
    ("snap-1/new.txt", b"planted", "new.txt was not there when the case was closed"),
    ("snap-1/a2.txt", b"swapped", "a2.txt has not the content that the list that closed the case names"),
])
def test_a_sealed_case_holds_what_was_sealed_and_nothing_else(case: Case, name: str, content: bytes,
                                                             sentence: str) -> None:
    case.close()
    (case.root / INCIDENT / name).write_bytes(content)
    assert sentence in checked(case).problem


def test_the_sealed_list_is_the_one_that_was_sealed(case: Case) -> None:
    case.close()
    sealed = next((case.root / f"custody/{INCIDENT}/lists").iterdir())
    sealed.write_bytes(sealed.read_bytes().replace(b"a2.txt", b"a9.txt"))
    assert checked(case).problem == "The list of artifacts is not the one that closed the case: it was changed."
    sealed.unlink()
    assert checked(case).problem == "The list of artifacts, which closed the case, is missing."


def test_repeated_events_are_found_even_when_the_key_signed_them(case: Case) -> None:
    case.ledger._events.clear()
    case.ledger.append(told(1))
    case.ledger.sign(key())
    assert checked(case).problem == "Entry 7 says once more what entry 1 said."


def test_names_that_lead_out_of_the_case_are_refused(case: Case) -> None:
    (case.root.parent / "outside").write_bytes(b"x")
    case.ledger.append(told(7, object={"kind": "artifact", "id": "../outside", "sha256": digest(b"x"), "place": ""}))
    case.ledger.sign(key())
    assert "is no name of an artifact" in checked(case).problem


def test_what_a_ledger_says_cannot_draw_on_the_screen(case: Case) -> None:
    evil = "a\x1b[2J\u202etxt\nVALID"
    case.ledger.append(told(7, object={"kind": "artifact", "id": evil, "sha256": "0" * 64, "place": ""}))
    case.ledger.sign(key())
    shown = "\n".join(verify.lines(checked(case)))
    assert not {"\x1b", "\u202e"} & set(shown) and "\nVALID" not in shown


@pytest.mark.parametrize("head", ["", "6", "x:" + "0" * 64, "0:" + "0" * 64, "6:" + "0" * 63, "\u0663:" + "0" * 64])
def test_a_noted_head_is_number_and_hash(head: str) -> None:
    with pytest.raises(BadInput, match="The noted head must be"):
        verify.Noted.read(head)


def test_a_case_without_a_ledger_cannot_be_checked(case: Case) -> None:
    with pytest.raises(BadInput, match="There is no ledger of INC-none"):
        verify.verify(case.store, "INC-none", rsa.read_key(key().pem()))
