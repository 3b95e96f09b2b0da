# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ledgers that grow: in order, once, whoever writes and whenever somebody dies."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.dfir.aws.plugins.module_utils.custody import entry as entries
from ansible_collections.dfir.aws.plugins.module_utils.custody import rsa, verify
from ansible_collections.dfir.aws.plugins.module_utils.custody.canonical import canonical, parsed
from ansible_collections.dfir.aws.plugins.module_utils.custody.errors import BadInput, Conflict, StoreError
from ansible_collections.dfir.aws.plugins.module_utils.custody.ledger import Artifact, Ledger
from ansible_collections.dfir.aws.plugins.module_utils.custody.stores import FolderStore
from ansible_collections.dfir.aws.plugins.module_utils.request_fields import INCIDENT as WIDELY
from jsonschema import Draft202012Validator

from tests.unit.custody.custody_kit import ACTOR, INCIDENT, TOOL, Case, Key, key, told

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path / "case")


def checked(case: Case, **more: Any) -> verify.Verdict:
    return verify.verify(case.store, case.incident, key().read(), **more)


def test_a_case_is_recorded_signed_and_closed(case: Case) -> None:
    verdict = checked(case.fill().close())
    assert (verdict.state, verdict.problem, verdict.closed, verdict.signed) == ("valid", "", True, 7)
    assert [item["key"] for item in verdict.artifacts] == [f"{INCIDENT}/snap-1/a2.txt", f"{INCIDENT}/snap-1/a4.txt"]
    assert not verdict.remarks


def test_closing_and_signing_twice_changes_nothing(case: Case) -> None:
    case.fill().close()
    before = {path: path.read_bytes() for path in case.root.rglob("*.json")}
    again = Ledger(case.store, INCIDENT)
    assert not again.close([], ACTOR, TOOL).changed
    assert not again.sign(key()).changed
    assert {path: path.read_bytes() for path in case.root.rglob("*.json")} == before


def test_nothing_follows_the_closing(case: Case) -> None:
    case.fill().close()
    with pytest.raises(Conflict, match="was closed by entry 7"):
        Ledger(case.store, INCIDENT).append(told(8))


def test_what_is_not_what_was_recorded_is_not_sealed(case: Case) -> None:
    case.fill()
    (case.root / INCIDENT / "snap-1/a2.txt").write_bytes(b"swapped")
    with pytest.raises(Conflict, match=r"a2\.txt, which entry 2 recorded, has another content now"):
        case.close()
    assert case.ledger.closing is None
    with pytest.raises(Conflict, match=r"a2\.txt, which entry 2 recorded, is not there"):
        case.ledger.close([Artifact("other", 1, "0" * 64)], ACTOR, TOOL)


def test_an_event_is_recorded_once(case: Case) -> None:
    assert case.ledger.append(told(1)).changed
    again = Ledger(case.store, INCIDENT).append(told(1, actor={**ACTOR, "name": "bob"}))
    assert (again.changed, again.number, again.value["actor"]["name"]) == (False, 1, "alice")
    with pytest.raises(Conflict, match="recorded as entry 1 with another 'result'"):
        case.ledger.append(told(1, result="failed"))
    assert case.ledger.number == 1


def test_a_check_says_what_would_be_and_writes_nothing(case: Case) -> None:
    would = case.ledger.would(told(1))
    assert would.changed and would.number == 1 and not list(case.root.rglob("*.json"))
    case.ledger.append(told(1))
    assert not case.ledger.would(told(1)).changed


def test_a_crash_between_intent_and_outcome_is_seen(case: Case) -> None:
    case.ledger.append(told(1, phase="intent", result="begun", action="image"))
    case.ledger.sign(key())
    assert "Entry 1: image of snap-0123456789abcdef0 began, and its end is not recorded." in checked(case).remarks
    case.ledger.append(told(1, phase="outcome", result="failed", action="image"))
    case.ledger.sign(key())
    assert not [remark for remark in checked(case).remarks if "began" in remark]


def test_an_outcome_needs_its_intent(case: Case) -> None:
    with pytest.raises(BadInput, match="no intent of the event event-1 came before"):
        case.ledger.append(told(1, phase="outcome"))


def test_a_write_whose_answer_is_lost_is_found(case: Case) -> None:
    class Deaf(FolderStore):
        def put_once(self, name: str, body: bytes) -> bool:
            super().put_once(name, body)
            return False  # as a client that asks again after a time-out

    written = Ledger(Deaf(case.root), INCIDENT, pause=lambda seconds: None).append(told(1))
    assert (written.changed, written.number) == (True, 1)
    assert [path.name for path in case.entry(1).parent.iterdir()] == ["000000001.json"]


def test_a_writer_that_always_loses_gives_up(case: Case) -> None:
    class Full(FolderStore):
        def put_once(self, name: str, body: bytes) -> bool:
            return False

    with pytest.raises(StoreError, match="written all the time by others"):
        Ledger(Full(case.root), INCIDENT, pause=lambda seconds: None).append(told(1))


def _write(root: Path, writer: int, count: int) -> None:
    ledger = Ledger(FolderStore(root), INCIDENT)
    for number in range(count):
        ledger.append(told(writer * 100 + number))


def test_writers_neither_lose_entries_nor_fork(case: Case) -> None:
    fork = multiprocessing.get_context("fork")
    writers = [fork.Process(target=_write, args=(case.root, writer, 12)) for writer in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0] * 4
    case.ledger.sign(key())
    verdict = checked(case)
    assert verdict.state == "valid", verdict.problem
    assert sorted(one["event"] for one in verdict.entries) == sorted(
        f"event-{writer * 100 + number}" for writer in range(4) for number in range(12))


def test_a_broken_last_entry_is_no_reason_not_to_record(case: Case) -> None:
    case.fill(2)
    case.entry(2).write_bytes(b"broken")
    assert Ledger(case.store, INCIDENT).append(told(3)).number == 3
    assert checked(case).place.endswith("000000002.json")


def test_a_key_that_signs_wrongly_is_caught_before_anything_is_kept(case: Case) -> None:
    class Wrong(Key):
        def sign(self, message: bytes) -> bytes:
            return key("two").sign(message)

    case.ledger.append(told(1))
    with pytest.raises(StoreError, match="its own public half does not know"):
        case.ledger.sign(Wrong("wrong"))
    assert not case.signature(1).exists()
    with pytest.raises(BadInput, match="nothing to sign"):
        Ledger(case.store, "INC-empty").sign(key())


@pytest.mark.parametrize(("wrong", "sentence"), [
    ({"action": "theft"}, "'action' is not as it must be"),
    ({"phase": "intent"}, "the result of the phase 'intent' must be one of: begun"),
    ({"event": "a b"}, "'event' is not as it must be"),
    ({"details": {"nested": {"a": 1}}}, "'details' must be"),
    ({"details": {"fraction": 1.5}}, "'details' must be"),
    ({"details": {"number": 1 << 60}}, "a number is too large"),
    ({"details": {"text": "\ud800"}}, "surrogates not allowed"),
    ({"object": {"kind": "snapshot", "id": "x", "place": ""}}, "object.'sha256' is missing"),
    ({"object": {"kind": "snapshot", "id": "x", "place": "", "sha256": "0" * 64 + "\n"}}, "object.'sha256' is not"),
    ({"more": 1}, "'more' is no field that is known"),
    ({"action": "closing"}, "are for closing a case"),
    ({"event": "closing"}, "are for closing a case"),
])
def test_what_is_no_entry_is_refused(case: Case, wrong: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence.replace(".", r"\.")):
        case.ledger.append(told(1, **wrong))
    assert not list(case.root.rglob("*.json"))


@pytest.mark.parametrize("incident", ["", "../up", "a/b", "x" * 65, "a..b", "a\n"])
def test_an_incident_is_a_name(case: Case, incident: str) -> None:
    with pytest.raises(BadInput, match="incident"):
        Ledger(case.store, incident)


def test_schema_and_engine_agree(case: Case) -> None:
    schema = json.loads((ROOT / "docs/custody-ledger.schema.json").read_text())
    Draft202012Validator.check_schema(schema)
    valid = Draft202012Validator(schema)
    case.fill().close()
    good = parsed(case.entry(2).read_bytes())
    for number in range(1, 8):
        assert valid.is_valid(parsed(case.entry(number).read_bytes()))
    assert entries.INCIDENT == WIDELY
    changes = [{name: value} for name in good for value in (None, "", 0, "x" * 3000, {}, [], -1, "begun", True)]
    changes += [{"object": {**good["object"], name: value}} for name in good["object"] for value in (None, 5, "A" * 64)]
    changes += [{"details": value} for value in ({"a": 1.5}, {"A": 1}, {"a": []}, {f"n{i}": 1 for i in range(51)},
                                                 {"a": None, "b": "x", "c": True})]
    changes += [{"phase": "intent"}, {"phase": "intent", "result": "begun"}, {"number": 10**9}, {"new": 1}]
    verdicts = set()
    for change in changes:
        made = {**good, **change}
        verdicts.add(not entries.problem(made))
        assert valid.is_valid(made) == (not entries.problem(made)), change
    assert verdicts == {True, False}
    for name in good:
        assert not valid.is_valid({key: value for key, value in good.items() if key != name})


def test_canonical_form_is_that_of_rfc_8785() -> None:
    value = {"b": [1, True, None], "a": "\u20ac$\x0f\nA'\u0042\"\\\\\"/", "\x41": {}}
    assert canonical(value).decode() == '{"A":{},"a":"\u20ac$\\u000f\\nA\'B\\"\\\\\\\\\\"/","b":[1,true,null]}'
    for other in (b'{"a": 1}', b'{"b":1,"a":1}', b'{"a":1,"a":1}', b'{"a":1.0}', b'{"a":"\\u0041"}', b"\xff",
                  b"[" * 5000):
        with pytest.raises(ValueError, match="it is not"):
            parsed(other)


@pytest.mark.parametrize("bits", [2048, 3072])
def test_signatures_of_another_implementation_are_known(bits: int) -> None:
    made = Key("x", bits)
    message, signature = b"message", made.sign(b"message")
    public = rsa.read_key(made.pem())
    assert public == rsa.read_key(made.public_key())
    assert rsa.is_signed(public, message, signature)
    assert not rsa.is_signed(public, b"massage", signature)
    assert not rsa.is_signed(public, message, signature[:-1] + bytes([signature[-1] ^ 1]))
    assert not rsa.is_signed(public, message, b"\0" + signature)
    assert not rsa.is_signed(public, message, (int.from_bytes(signature, "big") + public.modulus).to_bytes(
        len(signature) + 1, "big"))
    assert not rsa.is_signed(public, message, b"")


def test_padding_that_hides_something_is_no_signature() -> None:
    """Bleichenbacher's forgery lives on checks that parse the padding: a shorter one with a tail must not pass."""
    public = key().read()
    numbers = key().private.private_numbers()
    length = (public.modulus.bit_length() + 7) // 8
    good = pow(int.from_bytes(key().sign(b"m"), "big"), public.exponent, public.modulus).to_bytes(length, "big")
    end = good[good.index(b"\0", 2):]
    for forged in (b"\0\x01" + b"\xff" * 8 + end + b"\0" * (length - 10 - len(end)), b"\0\x02" + good[2:]):
        signature = pow(int.from_bytes(forged, "big"), numbers.d, public.modulus).to_bytes(length, "big")
        assert not rsa.is_signed(public, b"m", signature)


@pytest.mark.parametrize("data", [b"", b"x", b"\x30\x80", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----",
                                  b"\x30\x84\xff\xff\xff\xff"])
def test_what_is_no_key_is_refused(data: bytes) -> None:
    with pytest.raises(BadInput, match="The public key is none that can be used"):
        rsa.read_key(data)


def test_short_keys_and_other_kinds_are_refused() -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    curve = ec.generate_private_key(ec.SECP256R1()).public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    for data in (Key("short", 1024).public_key(), curve, key().public_key() + b"\0"):
        with pytest.raises(BadInput):
            rsa.read_key(data)
