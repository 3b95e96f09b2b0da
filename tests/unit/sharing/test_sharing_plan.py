# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What must be done with a snapshot so that another account can read it: the plan, on facts alone."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from ansible_collections.dfir.aws.plugins.module_utils.sharing import plan
from ansible_collections.dfir.aws.plugins.module_utils.sharing.words import (
    NOT_CHECKABLE,
    OK,
    OPEN,
    REFUSED,
    SEAL,
    default_key,
    refusal,
)

MEMBER, FORENSIC, HOME, FAR = "210987654321", "123456789012", "eu-west-1", "us-east-1"
NAME = "snap-0123456789abcdef0"


def arn(name: str, account: str = MEMBER, region: str = HOME) -> str:
    return f"arn:aws:kms:{region}:{account}:key/{name}"


def key(name: str, account: str = MEMBER, region: str = HOME, **more: Any) -> dict[str, Any]:
    return {"arn": arn(name, account, region), "account": account, "manager": "CUSTOMER", "state": "Enabled",
            "problem": "", "known": True, **more}


DEFAULT, OWN = key("default", manager="AWS"), key("own")
TRANSIT, VAULT = key("transit", FORENSIC), key("vault", FORENSIC, FAR)
OFF = key("own", state="Disabled", problem="The key is Disabled.")
UNKNOWN = {**key("own"), "manager": "", "state": "", "known": False, "why": "AccessDeniedException: no"}
LOCK = {"mode": "governance", "days": 90, "cool_off_hours": 0}
NO_LOCK = {"mode": "none", "days": 0, "cool_off_hours": 0}


def facts(**more: Any) -> dict[str, Any]:
    found = {"snapshot_id": NAME, "account": MEMBER, "region": HOME, "state": "completed", "owner": MEMBER,
             "tier": "standard", "encrypted": False, "key": {}, "kms_key_id": "", "shared": False, "reencrypted": {},
             "copy": {}, "lock": {}, "problem": "", "tags": {}, **more}
    if found["key"]:
        found |= {"encrypted": True, "kms_key_id": found["key"]["arn"]}
    return found


def target(**more: Any) -> dict[str, Any]:
    return {"account": FORENSIC, "region": HOME, "how": "copy", "key": {}, "target_key": {}, "lock": LOCK, **more}


def said(purpose: str, of: dict[str, Any], account: str, verdict: str = REFUSED) -> dict[str, str]:
    return {"action": "kms:Decrypt" if purpose == OPEN else "kms:CreateGrant", "key": of["arn"], "account": account,
            "purpose": purpose, "verdict": verdict, "why": "as AWS says it"}


MADE = {"snapshot_id": "snap-0aaaaaaaaaaaaaaaa", "state": "completed", "shared": False, "kms_key_id": TRANSIT["arn"]}
COPY = {"snapshot_id": "snap-0bbbbbbbbbbbbbbbb", "state": "completed", "kms_key_id": ""}
GOVERNED = {"LockState": "governance", "LockDuration": 90}


class Case(NamedTuple):
    """One snapshot, and what is to be done with it."""

    name: str
    facts: dict[str, Any]
    target: dict[str, Any]
    steps: str = ""
    problem: str = ""
    why: str = ""
    checks: tuple[dict[str, str], ...] = ()


CASES = (
    Case("plain, copied", facts(), target(), "share copy lock verify", why="not encrypted"),
    Case("plain, shared only", facts(), target(how="share"), "share lock verify"),
    Case("plain, shared before", facts(shared=True), target(how="share", lock=NO_LOCK), "verify", why="already"),
    Case("plain, to another region", facts(), target(region=FAR, target_key=VAULT), "share copy lock verify"),
    Case("a share does not leave its region", facts(), target(how="share", region=FAR), problem="stays in its region"),
    Case("default key, with a key to encrypt anew", facts(key=DEFAULT), target(key=TRANSIT),
         "reencrypt share copy lock verify", why="alias/aws/ebs"),
    Case("default key, shared only", facts(key=DEFAULT), target(key=TRANSIT, how="share"),
         "reencrypt share lock verify"),
    Case("default key, no key to encrypt anew", facts(key=DEFAULT), target(), problem=default_key(NAME, HOME)),
    Case("default key, encrypted anew before", facts(key=DEFAULT, reencrypted=MADE), target(key=TRANSIT),
         "share copy lock verify", why="is taken up"),
    Case("default key, encrypted anew and shared before", facts(key=DEFAULT, reencrypted={**MADE, "shared": True}),
         target(key=TRANSIT), "copy lock verify"),
    Case("default key, anew and pending", facts(key=DEFAULT, reencrypted={**MADE, "state": "pending"}),
         target(key=TRANSIT), "reencrypt share copy lock verify"),
    Case("default key, and the other key is off", facts(key=DEFAULT), target(key={**TRANSIT, "problem": "It is "
                                                                                                        "Disabled."}),
         problem="It is Disabled."),
    Case("default key, the other key refuses the owner", facts(key=DEFAULT), target(key=TRANSIT),
         problem=refusal(SEAL, TRANSIT["arn"], MEMBER), checks=(said(SEAL, TRANSIT, MEMBER),)),
    Case("default key, the other key refuses the reader", facts(key=DEFAULT), target(key=TRANSIT),
         problem=refusal(OPEN, TRANSIT["arn"], FORENSIC), checks=(said(OPEN, TRANSIT, FORENSIC),)),
    Case("customer key that lets the other account in", facts(key=OWN), target(), "share copy lock verify",
         why="no default key", checks=(said(OPEN, OWN, FORENSIC, OK),)),
    Case("customer key, not checkable, stops nothing", facts(key=OWN), target(), "share copy lock verify",
         checks=(said(OPEN, OWN, FORENSIC, NOT_CHECKABLE),)),
    Case("customer key that refuses, nothing else at hand", facts(key=OWN), target(),
         problem=refusal(OPEN, OWN["arn"], FORENSIC), checks=(said(OPEN, OWN, FORENSIC),)),
    Case("customer key that refuses, encrypted anew", facts(key=OWN), target(key=TRANSIT),
         "reencrypt share copy lock verify", why="does not let account", checks=(said(OPEN, OWN, FORENSIC),)),
    Case("the key to encrypt anew is the one that refuses", facts(key=OWN), target(key=OWN),
         problem=refusal(OPEN, OWN["arn"], FORENSIC), checks=(said(OPEN, OWN, FORENSIC),)),
    Case("refuses its own account, too", facts(key=OWN), target(key=TRANSIT), problem=refusal(OPEN, OWN["arn"], MEMBER),
         checks=(said(OPEN, OWN, FORENSIC), said(OPEN, OWN, MEMBER))),
    Case("customer key that is off", facts(key=OFF), target(key=TRANSIT), problem="The key is Disabled."),
    Case("a key that may not be looked at", facts(key=UNKNOWN), target(), "share copy lock verify"),
    Case("the target's own key refuses", facts(), target(target_key=VAULT),
         problem=refusal(SEAL, VAULT["arn"], FORENSIC), checks=(said(SEAL, VAULT, FORENSIC),)),
    Case("copied before, unlocked", facts(copy=COPY, key=DEFAULT), target(), "lock verify", why=COPY["snapshot_id"]),
    Case("copied and locked before", facts(copy=COPY, lock=GOVERNED), target(), "verify", why="locked"),
    Case("copied before, and pending", facts(copy={**COPY, "state": "pending"}), target(), "copy lock verify"),
    Case("one account, one region", facts(account=FORENSIC, owner=FORENSIC, key=DEFAULT), target(), "lock verify"),
    Case("one account, another region", facts(account=FORENSIC, owner=FORENSIC, key=DEFAULT), target(region=FAR),
         "copy lock verify"),
    Case("not there", facts(state="", owner=""), target(), problem="There is no snapshot"),
    Case("somebody else's", facts(owner="999999999999"), target(), problem="only its owner can share it"),
    Case("pending", facts(state="pending"), target(), problem="is in state pending"),
    Case("archived", facts(tier="archive"), target(), problem="archive tier"),
    Case("not to be looked at", facts(problem="AWS says no."), target(), problem="AWS says no."),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_p34_what_must_be_done(case: Case) -> None:
    entry = plan.decide(case.facts, case.target, list(case.checks))
    assert " ".join(entry["steps"]) == case.steps
    assert case.problem in entry["problem"] and bool(entry["problem"]) == bool(case.problem)
    assert case.why in " ".join(entry["why"])
    assert len(plan.calls(entry)) == len(entry["steps"])


def test_the_calls_are_named_in_order_with_accounts_regions_and_keys() -> None:
    lock = {"mode": "compliance", "days": 30, "cool_off_hours": 24}
    entry = plan.decide(facts(key=DEFAULT), target(key=TRANSIT, region=FAR, target_key=VAULT, lock=lock), [])
    assert plan.calls(entry) == [
        f"CopySnapshot in {HOME} by account {MEMBER}, under {TRANSIT['arn']}",
        f"ModifySnapshotAttribute by account {MEMBER}: createVolumePermission for {FORENSIC}",
        f"CopySnapshot into {FAR} by account {FORENSIC}, under {VAULT['arn']}",
        "LockSnapshot: compliance, 30 days, 24 hours to think it over",
        f"DescribeSnapshots, ListSnapshotBlocks and GetSnapshotBlock by account {FORENSIC}",
    ]


def test_what_could_not_be_looked_at_is_said() -> None:
    entry = plan.decide(facts(key=UNKNOWN), target(), [])
    assert entry["notes"] == [f"not checkable: whether {OWN['arn']} is the account's default key "
                              "(AccessDeniedException: no)"]
