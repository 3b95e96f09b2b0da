#!/usr/bin/python
# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: custody_record
short_description: Write the custody ledger of an incident, sign it, close it
version_added: 0.1.0
author:
  - The dfir.aws authors (@dfir-aws)
description:
  - Adds an entry to the ledger of an incident in the artifact bucket, signs the last entry with a key of KMS, or closes
    the case, which seals the list of all artifacts and ends the ledger.
  - Entries are objects of their own, written once, each with the hash of the one before. Several runs may write at
    once.
  - An event is recorded once, so a task that runs again changes nothing. The same event with other words is an error.
  - Playbooks tell their work with O(entries). They may be told before the work and again after it, whatever came in
    between.
options:
  state:
    description:
      - V(recorded) adds an entry, V(signed) signs the last one.
      - V(closed) reads every object of the incident in the bucket, writes the list of them with their SHA-256, adds the
        closing entry and signs it.
    type: str
    choices: [recorded, signed, closed]
    default: recorded
  bucket:
    description: The artifact bucket.
    type: str
    required: true
  incident:
    description: The incident.
    type: str
    required: true
  signing_key:
    description:
      - Id, ARN or alias of an asymmetric RSA key of KMS with the usage C(SIGN_VERIFY). Needed for O(state=signed) and
        O(state=closed).
    type: str
    default: ""
  event:
    description:
      - A name for what happened, unique in the incident, such as C(run-1234/image/snap-0123456789abcdef0). Needed for
        O(state=recorded), unless O(entries) are given.
    type: str
  phase:
    description:
      - V(intent) before an action, with V(outcome) and the same O(event) after it, so that a crash between the two is
        seen. V(record) says the whole at once.
    type: str
    choices: [intent, outcome, record]
    default: record
  action:
    description: What kind of action it is. Needed for O(state=recorded), unless O(entries) are given.
    type: str
    choices: [acquisition, copy, image, mount, tool_run, artifact, transfer, access, hand_over, note]
  object:
    description: What the action was done to. Needed for O(state=recorded), unless O(entries) are given.
    type: dict
    suboptions:
      kind:
        description: What it is, as one word, such as V(snapshot), V(instance), V(image) or V(artifact).
        type: str
        required: true
      id:
        description: Its id; of an artifact its key in the bucket, so that checking the case reads and compares it.
        type: str
        required: true
      sha256:
        description: Its SHA-256, where it has one.
        type: str
      place:
        description: Where it is, such as a region, a bucket or a safe.
        type: str
        default: ""
  result:
    description: How it went. Of an intent it is always C(begun).
    type: str
    choices: [ok, failed]
    default: ok
  details:
    description:
      - More about it, at most 50 names with a text, a whole number, a boolean or nothing. No secrets. Evidence is not
        quoted here.
    type: dict
    default: {}
  tool:
    description: Name and version of the tool, where it is not this collection.
    type: dict
    suboptions:
      name:
        description: Its name.
        type: str
        required: true
      version:
        description: Its version.
        type: str
        default: ""
  actor:
    description:
      - Who did it, C(kind), C(name) and C(arn), as RV(dfir.aws.operator_request#module:caller) says. Without it, the
        AWS identity of the run.
    type: dict
  entries:
    description:
      - Several entries for O(state=recorded), as P(dfir.aws.custody_begins#filter) and P(dfir.aws.custody_ends#filter)
        make them. Those that the ledger has are passed over; work that failed and is tried again gets an event of its
        own, named after the first.
    type: list
    elements: dict
  sign:
    description: Sign the head afterwards, for O(state=recorded) with O(entries).
    type: bool
    default: false
  on_problem:
    description:
      - What to do where the ledger cannot be written, for O(state=recorded) with O(entries).
      - V(tell) does not fail, and says it in C(problem) of RV(custody). V(refuse_closed) does the same, but fails where
        the case is closed.
    type: str
    choices: [fail, tell, refuse_closed]
    default: fail
  known_entries:
    description:
      - A folder for entries of ledgers that were read, so that the next task need not read them again. The action sets
        it to a folder of this run.
    type: path
  retain_days:
    description: Lock what is written for so many days, where the bucket has Object Lock. V(0) leaves it to the bucket.
    type: int
    default: 0
  lock_mode:
    description: How it is locked. Nobody at all can remove what is under V(COMPLIANCE) before its time.
    type: str
    choices: [GOVERNANCE, COMPLIANCE]
    default: GOVERNANCE
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
  - dfir.aws.aws.attributes
attributes:
  check_mode:
    support: full
    details:
      - Says what would be recorded. For O(state=closed) the artifacts are read and compared.
  diff_mode:
    support: none
  idempotent:
    support: full
notes:
  - "Needed: docs/iam/custody-policy.json."
seealso:
  - module: dfir.aws.custody_check_info
"""

EXAMPLES = r"""
- name: Record that an image is about to be made
  dfir.aws.custody_record:
    bucket: dfir-artifacts-123456789012
    incident: INC-2026-0042
    event: image/snap-0123456789abcdef0
    phase: intent
    action: image
    object: {kind: snapshot, id: snap-0123456789abcdef0, place: eu-west-1}

- name: Sign what was recorded
  dfir.aws.custody_record:
    state: signed
    bucket: dfir-artifacts-123456789012
    incident: INC-2026-0042
    signing_key: alias/dfir-custody
"""

RETURN = r"""
custody:
  description:
    - How the ledger stands - C(kept), C(head), C(signed), C(problem), C(closed) and C(line), which says it to people.
  returned: when O(entries) are given
  type: dict
number:
  description: The number of the entry that was recorded, signed or closed the case.
  returned: success
  type: int
sha256:
  description: Its SHA-256.
  returned: success
  type: str
entry:
  description: The entry, as it is in the ledger.
  returned: when O(state=recorded) or O(state=closed)
  type: dict
head:
  description: Number and SHA-256 as somebody may note them outside the case.
  returned: success
  type: str
  sample: "12:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
signed:
  description: Whether this entry is signed now. In check mode, whether it would be.
  returned: when O(state=signed) or O(state=closed)
  type: bool
"""

from typing import Any

from ansible_collections.dfir.aws.plugins.module_utils.aws_module import AwsModule

from ..module_utils.custody.entry import ACTIONS
from ..module_utils.custody.errors import BadInput, Closed, CustodyError
from ..module_utils.custody.ledger import Artifact, Ledger
from ..module_utils.custody.rsa import read_key
from ..module_utils.custody.stores import Store
from ..module_utils.custody_keep import told_of
from ..module_utils.custody_module import OPTIONS, actor, bucket_store, known_entries, signer
from ..module_utils.custody_told import collection


def recorded(module: AwsModule, ledger: Ledger) -> dict[str, Any]:
    """Add an entry."""
    given = module.params
    about = {name: given["object"][name] for name in ("kind", "id", "sha256", "place")}
    told = {"event": given["event"], "phase": given["phase"], "action": given["action"], "object": about,
            "result": "begun" if given["phase"] == "intent" else given["result"], "details": given["details"],
            "actor": actor(module), "tool": tool(module)}
    written = ledger.would(told) if module.check_mode else ledger.append(told)
    return {"changed": written.changed, "number": written.number, "sha256": written.sha256, "entry": written.value}


def several(module: AwsModule, ledger: Ledger) -> dict[str, Any]:
    """Add what several entries say that the ledger does not say yet."""
    given, told = module.params, list(module.params["entries"])
    if not all(entry.get("actor") for entry in told):
        told = [{**entry, "actor": entry.get("actor") or actor(module)} for entry in told]

    def write() -> bool:
        if module.check_mode:
            return bool(ledger.named(told))
        return any(written.changed for written in ledger.append_tries(told))

    sign = given["sign"] and not module.check_mode
    changed, stands = told_of(ledger, write, (lambda: signer(module)) if sign else None,
                              lenient=given["on_problem"] != "fail",
                              refuse_closed=given["on_problem"] == "refuse_closed")
    if stands["problem"]:
        module.warn(stands["line"])
    return {"changed": changed, "number": ledger.number, "sha256": ledger.sha256, "custody": stands}


def tool(module: AwsModule) -> dict[str, str]:
    """What did it: this collection, where nothing else is said."""
    given = module.params["tool"] or collection()
    return {"name": given["name"], "version": given["version"]}


def signed(module: AwsModule, ledger: Ledger) -> dict[str, Any]:
    """Sign the head."""
    key = signer(module)
    if module.check_mode:
        ledger.refresh()
        if not ledger.number:  # an earlier task would have recorded the first
            return {"changed": True, "number": 0, "sha256": ledger.sha256, "signed": True}
        changed, number, sha256 = not ledger.is_signed(read_key(key.public_key())), ledger.number, ledger.sha256
    else:
        number, sha256, _value, changed = ledger.sign(key)
    return {"changed": changed, "number": number, "sha256": sha256, "signed": True}


def closed(module: AwsModule, ledger: Ledger, store: Store) -> dict[str, Any]:
    """Seal the case, and sign."""
    key = signer(module)
    public = read_key(key.public_key())  # before anything is written: a case must not end unsigned for want of a key
    ledger.refresh()
    found = [] if ledger.closing else artifacts(store, module.params["incident"])
    if module.check_mode and not ledger.closing:
        ledger.compare(found)
        return {"changed": True, "number": ledger.number + 1, "sha256": "", "entry": {}, "signed": True}
    written = ledger.close(found, actor(module), tool(module))
    # A case that was closed by a run that broke off may lack its signature.
    changed = not ledger.is_signed(public) if module.check_mode else ledger.sign(key).changed or written.changed
    return {"changed": changed, "number": written.number, "sha256": written.sha256, "entry": written.value,
            "signed": True}


def artifacts(store: Store, incident: str) -> list[Artifact]:
    """Every object of the incident, read."""
    found = []
    for name in store.names(f"{incident}/"):
        measured = store.measure(name)
        if measured is None:
            raise BadInput(f"{store.place(name)} went away while the case was being closed: nothing was sealed.")
        found.append(Artifact(name, *measured))
    return found


def main() -> None:
    """Entry point."""
    module = AwsModule(
        supports_check_mode=True,
        argument_spec={
            **OPTIONS,
            "bucket": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["recorded", "signed", "closed"], "default": "recorded"},
            "event": {"type": "str"},
            "phase": {"type": "str", "choices": ["intent", "outcome", "record"], "default": "record"},
            "action": {"type": "str", "choices": [action for action in ACTIONS if action != "closing"]},
            "object": {"type": "dict", "options": {
                "kind": {"type": "str", "required": True}, "id": {"type": "str", "required": True},
                "sha256": {"type": "str"}, "place": {"type": "str", "default": ""}}},
            "result": {"type": "str", "choices": ["ok", "failed"], "default": "ok"},
            "details": {"type": "dict", "default": {}},
            "tool": {"type": "dict", "options": {
                "name": {"type": "str", "required": True}, "version": {"type": "str", "default": ""}}},
            "actor": {"type": "dict"},
            "entries": {"type": "list", "elements": "dict"},
            "sign": {"type": "bool", "default": False},
            "on_problem": {"type": "str", "choices": ["fail", "tell", "refuse_closed"], "default": "fail"},
            "known_entries": {"type": "path"},
            "retain_days": {"type": "int", "default": 0},
            "lock_mode": {"type": "str", "choices": ["GOVERNANCE", "COMPLIANCE"], "default": "GOVERNANCE"},
        },
        required_if=[("state", "recorded", ["event", "entries"], True), ("state", "signed", ["signing_key"]),
                     ("state", "closed", ["signing_key"]), ("sign", True, ["signing_key"])],
        required_by={"event": ["action", "object"]}, mutually_exclusive=[("event", "entries")])
    try:
        if not 0 <= module.params["retain_days"] <= 36500:
            raise BadInput("retain_days must be 0 to 36500.")
        store = bucket_store(module, retain_days=module.params["retain_days"], lock_mode=module.params["lock_mode"],
                             known=known_entries(module))
        ledger = Ledger(store, module.params["incident"])
        if module.params["entries"] is not None:
            result = several(module, ledger)
        elif module.params["state"] == "recorded":
            result = recorded(module, ledger)
        elif module.params["state"] == "signed":
            result = signed(module, ledger)
        else:
            result = closed(module, ledger, store)
    except Closed as error:
        module.fail_json(msg=f"{error} Nothing was begun. New work needs another incident."
                         if module.params["on_problem"] == "refuse_closed" else str(error))
    except CustodyError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result, head=f"{result['number']}:{result['sha256']}")


if __name__ == "__main__":
    main()
