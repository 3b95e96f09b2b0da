# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeping a custody ledger while work goes on: it must not stop the work, and must not be missing unnoticed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .custody.aws import BucketStore, KmsKey
from .custody.errors import BadInput, Closed, CustodyError
from .custody.ledger import Ledger
from .custody_module import bucket_store, known_entries, signer
from .custody_request import entries

KEEP: dict[str, Any] = {
    "custody_key": {"type": "str", "default": "", "no_log": False},
    "custody_retain_days": {"type": "int", "default": 0},
    "custody_lock_mode": {"type": "str", "choices": ["GOVERNANCE", "COMPLIANCE"], "default": "GOVERNANCE"},
}


def told_of(ledger: Ledger, write: Callable[[], bool], key: Callable[[], KmsKey] | None, *, lenient: bool = True,
            refuse_closed: bool = False) -> tuple[bool, dict[str, Any]]:
    """Write entries while work goes on, and say how the ledger stands.

    :param write: writes them, and says whether anything was written.
    :param key: signs the head, where it is to be signed now.
    :param lenient: a ledger that cannot be written stops no work: it is told, and not raised.
    :param refuse_closed: raise `Closed` in any case.
    :return: whether anything was written, and what `standing` says.
    """
    changed = signed = False
    try:
        if refuse_closed:
            ledger.refuse_closed()
        changed = write()
        if key and ledger.number:
            changed = ledger.sign(key()).changed or changed
            signed = True
    except CustodyError as error:
        if not lenient or (refuse_closed and isinstance(error, Closed)):
            raise
        return changed, standing(ledger.incident, ledger.number, ledger.sha256, problem=str(error),
                                 closed=isinstance(error, Closed))
    return changed, standing(ledger.incident, ledger.number, ledger.sha256, signed=signed)


def standing(incident: str, number: int = 0, sha256: str = "", *, signed: bool = False, problem: str = "",
             closed: bool = False, kept: bool = True) -> dict[str, Any]:
    """How a ledger stands, for playbooks and for people.

    :param closed: the problem is that the case is closed.
    :param kept: whether one is kept at all.
    """
    head = f"{number}:{sha256}" if number else ""
    if not kept:
        line = (f"Custody: no ledger of {incident} is kept. It takes a key (dfir_aws_custody_key) and a bucket "
                "(dfir_aws_artifact_bucket).")
    elif problem:
        line = f"CUSTODY IS NOT COMPLETE, the ledger of {incident} lacks entries or its signature: {problem}"
    else:
        line = (f"Custody: the ledger of {incident} ends with entry {number}{', signed' if signed else ''}. Note its "
                f"head outside the case: {head}") if number else f"Custody: the ledger of {incident} has no entry."
    return {"kept": kept, "head": head, "signed": signed, "problem": problem, "closed": closed,
            "line": line}


def settings(module: Any) -> dict[str, Any]:
    """The options of `KEEP`, as a request's record remembers them; empty where no custody is kept."""
    if not module.params["custody_key"]:
        return {}
    return {name: module.params[f"custody_{name}"] for name in ("key", "retain_days", "lock_mode")}


def kept_store(module: Any, kept: Mapping[str, Any]) -> BucketStore:
    """The ledger in the module's bucket, with such settings."""
    return bucket_store(module, retain_days=int(kept.get("retain_days") or 0),
                        lock_mode=str(kept.get("lock_mode") or "GOVERNANCE"), known=known_entries(module))


def refuse_closed(module: Any, spec: Mapping[str, Any]) -> None:
    """Raise `Closed` where the case of a request is closed. A ledger that cannot be read is told when it is written."""
    ledger = Ledger(kept_store(module, settings(module)), str(spec.get("incident") or ""))
    try:
        ledger.refresh()
    except CustodyError:
        return
    if ledger.closing:
        raise Closed(f"The case {ledger.incident} was closed by entry {ledger.closing.number} of its custody ledger: "
                     "nothing new is begun for it. New work needs another incident.")


def keep(module: Any, record: Mapping[str, Any], *, write: bool, sign: bool) -> dict[str, Any]:
    """Bring the custody ledger of a request up to what its record says, and say how it stands.

    :param write: whether anything can have changed; not in check mode.
    :param sign: sign the head; that of a request that has ended is signed in any case.
    """
    incident, kept = str((record.get("request") or {}).get("incident") or ""), record.get("custody") or {}
    if not kept or not write or module.check_mode:
        return standing(incident, kept=bool(kept))
    try:
        ledger = Ledger(kept_store(module, kept), incident)
    except CustodyError as error:
        return standing(incident, problem=str(error))

    def bring_up() -> bool:
        try:
            told = entries(record)
        except (AttributeError, KeyError, TypeError, ValueError) as error:  # of another version, or changed by hand
            raise BadInput(f"What the record of request {record.get('request_id')} says is not understood "
                           f"({error!r}).") from error
        return any(written.changed for written in ledger.append_all(told))

    key = (lambda: signer(module, kept["key"])) if sign or record["state"] == "finished" else None
    _changed, stands = told_of(ledger, bring_up, key)
    if stands["problem"]:
        module.warn(stands["line"])
    return stands
