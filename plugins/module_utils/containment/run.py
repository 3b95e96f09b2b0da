# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Contains and releases one instance, step by step, each written down before it is done."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

from ..ebs.version import __version__
from ..request_spec import iso
from . import plan
from .base import ContainmentError, Hands, Step, Wishes, found, is_gone, state_of
from .record import FORMAT, Shelf

STEP = {step.name: step for step in plan.STEPS}
LOOKS = 6  # until AWS shows what was done, some seconds
PAUSE = 2.0


def contain(shelf: Shelf, hands: Hands, instance_id: str, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Contain an instance, or go on with what another run began. What is contained already stays as it is.

    :param asked: `incident`, `account`, `region`, `analyst`, `caller`, `network_acl`, `revoke_sessions`.
    """
    stored = shelf.read()
    if stored and stored["state"] != "released" and stored["incident"] != asked["incident"]:
        raise ContainmentError(f"{instance_id} is contained for another incident: release it there first.")
    instance = found(hands("ec2"), instance_id)
    if instance is None or is_gone(instance):
        raise ContainmentError(f"There is no instance {instance_id} in {asked['region']} that could be contained: it "
                               f"is {state_of(instance)}.")
    again = stored is not None and stored["state"] != "released"
    if stored and stored["state"] == "releasing":
        raise ContainmentError(f"The release of {instance_id} has begun and is not complete: release it first.")
    record = deepcopy(stored) if stored and again else _opened(stored, instance_id, asked, hands)
    for name in ("network_acl", "revoke_sessions"):
        record[name] = bool(record.get(name) or asked.get(name))
    waiting = {} if again else _waiting(stored, renew=record["revoke_sessions"])
    record["steps"] = record["steps"] or [
        {"name": step.name, "title": step.title, "state": "planned", "items": waiting.get(step.name, [])}
        for step in plan.STEPS]
    wishes = Wishes(record["network_acl"], record["revoke_sessions"],
                    {step["name"]: step["items"] for step in record["steps"]})
    seen = plan.look(hands, instance, wishes)
    plan.merged(record["steps"], seen)
    record["untouched"] = plan.untouched(hands, instance, wishes)
    if hands.check:
        planned = _undone(record, hands, instance)
        return _told(record, hands, planned, changed=bool(planned))
    changed = record != stored
    if changed:
        record["state"] = "containing"
        _run(record, asked, hands, "contain")
        shelf.write(record)
    problem = ""
    for step in list(record["steps"]):
        if not any(True for _item in _work(step, hands, instance)):
            changed = _close(step) or changed
            continue
        changed = True
        step.update(state="intended", intended_at=iso(hands.now()), problem="")
        record["state"] = "containing"
        shelf.write(record)
        problem = _do(step, hands, instance)
        shelf.write(record)
        if problem:
            break
    if not problem:
        problem = _holds(record, hands, instance_id)
    state = "incomplete" if problem else "contained"
    if changed or record["state"] != state:
        record.update(state=state, problem=problem, updated_at=iso(hands.now()))
        if not problem:
            record.pop("statement", None)
            record["statement"] = shelf.state(record, "contained")
        shelf.write(record)
    return {**_told(record, hands, [], changed=changed), "problem": problem}


def release(shelf: Shelf, hands: Hands, instance_id: str, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Restore what the record says, in reverse order. What was released stays as it is, but for what waits."""
    record = shelf.read()
    if record is None or record["incident"] != asked["incident"]:
        raise ContainmentError(f"There is no containment of {instance_id} for the incident {asked['incident']}.")
    instance = found(hands("ec2"), instance_id)
    stored = deepcopy(record)
    for step in reversed(record["steps"]):
        todo = [one for one in step["items"] if _restorable(one)]
        if not todo:
            continue
        if not hands.check and record["state"] not in ("releasing", "released"):
            record["state"] = "releasing"
            _run(record, asked, hands, "release")
            shelf.write(record)
        begun = len(hands.done)
        for one in todo:
            try:
                _restore(STEP[step["name"]], hands, instance, instance_id, one)
            except ContainmentError as error:
                return _stopped(shelf, record, step, hands, str(error))
            except Exception as error:
                return _stopped(shelf, record, step, hands, f"{step['title']}: {error}")
        if len(hands.done) > begun:
            step.update(state="released", released_at=iso(hands.now()))
        if not hands.check and record["state"] == "releasing":
            shelf.write(record)
    changed = bool(hands.done) or stored["state"] != "released"
    lost = [one["lost"] for step in reversed(record["steps"]) for one in step["items"] if one.get("lost")]
    if changed and not hands.check:
        record.update(state="released", problem="", updated_at=iso(hands.now()), lost=lost)
        record.pop("statement", None)
        record["statement"] = shelf.state(record, "released")
        shelf.write(record)
    return {**_told(record, hands, list(hands.done), changed=changed), "lost": lost}


def _opened(before: Mapping[str, Any] | None, instance_id: str, asked: Mapping[str, Any], hands: Hands,
            ) -> dict[str, Any]:
    return {"format": FORMAT, "kind": "containment", "number": int((before or {}).get("number", 0)) + 1,
            "instance_id": instance_id, "incident": asked["incident"], "account": asked["account"],
            "region": asked["region"], "state": "planned", "created_at": iso(hands.now()), "steps": [], "runs": [],
            "tool": {"name": "dfir.aws", "version": __version__}, "problem": ""}


def _waiting(before: Mapping[str, Any] | None, *, renew: bool) -> dict[str, list[dict[str, Any]]]:
    """What an earlier containment left to be taken away later, by step: the next record goes on with it."""
    return {step["name"]: [{**one, "until": "", "lost": "", "renew": renew} for one in step["items"]
                           if one.get("until")] for step in (before or {}).get("steps", [])}


def _run(record: dict[str, Any], asked: Mapping[str, Any], hands: Hands, what: str) -> None:
    record["runs"].append({"what": what, "at": iso(hands.now()), "analyst": asked["analyst"]["uid"],
                           "caller": dict(asked["caller"]), "request_id": asked.get("request_id", "")})


def _work(step: Mapping[str, Any], hands: Hands, instance: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The items of a step that are not as they should be."""
    for one in step["items"]:
        if one["impossible"]:
            continue
        probe = hands.checking()
        STEP[step["name"]].contain(probe, instance, dict(one))
        if probe.done:
            yield one


def _undone(record: Mapping[str, Any], hands: Hands, instance: Mapping[str, Any]) -> list[str]:
    probe = hands.checking()
    for step in record["steps"]:
        for one in step["items"]:
            if not one["impossible"]:
                STEP[step["name"]].contain(probe, instance, dict(one))
    return probe.done


def _close(step: dict[str, Any]) -> bool:
    """A step with nothing to do is done; what it was is in the record all the same."""
    wanted = "done" if any(one["does"] and not one["impossible"] for one in step["items"]) else "nothing to do"
    if step["state"] in ("done", "nothing to do"):
        return False
    step["state"] = wanted
    return True


def _do(step: dict[str, Any], hands: Hands, instance: Mapping[str, Any]) -> str:
    """Do a step. Returns what went wrong."""
    begun = len(hands.done)
    try:
        for one in step["items"]:
            if not one["impossible"]:
                STEP[step["name"]].contain(hands, instance, one)
                one["done_at"] = one.get("done_at") or iso(hands.now())
    except Exception as error:
        step.update(state="failed", problem=" ".join(str(error).split())[:600])
        return (f"{step['title']}: {step['problem'].rstrip('.')}. What was done before it stays, and is recorded; what "
                "comes after it was not done. Contain it again to go on, or release it.")
    finally:
        step["made"] = [*step.get("made", []), *hands.done[begun:]]
    step.update(state="done", ended_at=iso(hands.now()))
    return ""


def _holds(record: Mapping[str, Any], hands: Hands, instance_id: str) -> str:
    """Whether AWS shows all of it. Returns what it does not show."""
    missing: list[str] = []
    for look in range(LOOKS):
        instance = found(hands("ec2"), instance_id)
        if instance is None or is_gone(instance):
            return f"{instance_id} is {state_of(instance)} now: what is left of it is its volumes."
        missing = _undone(record, hands, instance)
        if not missing:
            return ""
        if look + 1 < LOOKS:
            hands.pause(PAUSE)
    return f"AWS does not show it yet, or somebody undoes it: {'; '.join(missing)}. Contain it again."


def _restorable(one: Mapping[str, Any]) -> bool:
    """Final is what came back, and what was found not to come back; what waits is looked at again."""
    return not one["impossible"] and not one.get("final")


def _restore(step: Step, hands: Hands, instance: Mapping[str, Any] | None, instance_id: str,
             one: dict[str, Any]) -> None:
    one["lost"] = ""
    if step.bound and is_gone(instance):
        one["lost"] = f"{one['undone']}: {instance_id} is {state_of(instance)}" if one["does"] else ""
    else:
        one["lost"] = step.release(hands, instance or {"InstanceId": instance_id}, one)
    if not hands.check and not one.get("until"):
        one["final"] = True


def _stopped(shelf: Shelf, record: dict[str, Any], step: dict[str, Any], hands: Hands, why: str) -> dict[str, Any]:
    problem = (f"{' '.join(why.split())[:600].rstrip('.')}. What was restored before it stays; release it again to go "
               "on.")
    if not hands.check:
        step["problem"] = record["problem"] = problem
        shelf.write(record)
    return {**_told(record, hands, list(hands.done), changed=bool(hands.done)), "lost": [], "problem": problem}


def _told(record: Mapping[str, Any], hands: Hands, planned: list[str], *, changed: bool) -> dict[str, Any]:
    return {"instance_id": record["instance_id"], "state": record["state"], "changed": changed, "record": dict(record),
            "planned": planned, "done": [] if hands.check else list(hands.done), "lost": [], "problem": "",
            "statement": record.get("statement", "")}
