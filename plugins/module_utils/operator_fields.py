# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What may be asked for beside a request: which fields each wish has, and who may have it.

The rights are those of a request: whoever may have a snapshot analyzed for an incident may see its record and end it.
An operator is an entry of the registry with grants of its own. Retention is of all incidents, and a right of its own.
Instances are acquired by whom a grant gives the mode `acquire`, for its incidents, accounts and regions, and contained
and released by whom it gives `contain`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from . import registry
from .acquisition import targets
from .request_fields import ANALYST, FIELDS, INCIDENT, REGION, Field, Problem, check
from .sharing import door as sharing

ACQUIRE = "acquire"
CONTAIN = "contain"
RELEASE = "release"
_COMMON = {field.name: field for field in FIELDS}

_WHO = Field("analyst_uid", "text", "must be the uid of whoever asks, as in the registry.", ANALYST)
_WHICH = Field("request_id", "text", "must be a request's id: 16 lower-case hexadecimal digits.", r"[0-9a-f]{16}")
_INCIDENT = Field("incident", "text", "must be an incident's name.", INCIDENT)
# These are about a case, which may have no request.
CASES = ("verify_case", "close_case")
_INSTANCE_REGION = Field("aws_instance_region", "text", "must be the AWS region of the instances, such as 'eu-west-1'.",
                         REGION, longest=24)
_INSTANCE = r"i-(?:[0-9a-f]{17}|[0-9a-f]{8})"


def _switch(name: str) -> Field:
    """Something that is only done when it is asked for."""
    return Field(name, "boolean", "must be true or false.", allowed=("true", "false"), required=False, default=False)


_ONE_INSTANCE = (
    _COMMON["analyst_uid"],
    _COMMON["incident"],
    _INSTANCE_REGION,
    Field("aws_instance_id", "text", "must be one instance id, 'i-' and 17 (or, for old ones, 8) lower-case "
          "hexadecimal digits.", _INSTANCE),
    Field("confirm_instance_id", "text", "must be the instance id again.", _INSTANCE),
)


WISHES: dict[str, tuple[Field, ...]] = {
    "show": (
        _WHO,
        _WHICH._replace(required=False),
        Field("incident", "text", "must be an incident's name.", INCIDENT, required=False),
    ),
    "close": (
        _WHO,
        _WHICH,
        _switch("take_over"),
    ),
    "verify_case": (
        _WHO,
        _INCIDENT,
        Field("noted_head", "text", "must be an entry's number, a colon and its SHA-256, as the custody form shows it.",
              r"[1-9][0-9]{0,8}:[0-9a-f]{64}", longest=74, required=False),
    ),
    "close_case": (_WHO, _INCIDENT),
    "expire": (
        _WHO,
        _switch("delete_expired"),
        _switch("apply_lifecycle"),
    ),
    "reap": (_switch("remove_outlived"),),
    "refuse": (
        Field("event_door", "text", "must be 'requests' or 'findings'.", allowed=("requests", "findings")),
        Field("event_reason", "text", "must be the reason that the event filter gave.", r"[a-z][a-z0-9_]{0,39}"),
    ),
    ACQUIRE: (
        _COMMON["analyst_uid"],
        _COMMON["incident"],
        _INSTANCE_REGION,
        Field("aws_account", "text", "must be the AWS account of the instances, 12 digits (empty: this run's own).",
              targets.ACCOUNT, longest=12, required=False),
        Field("aws_instance_id", "texts", "must be one instance id, 'i-' and 17 (or, for old ones, 8) lower-case "
              "hexadecimal digits, or up to {most} different ones, separated by commas or line breaks.",
              _INSTANCE, required=False, most=50),
        Field("aws_instance_tags", "texts", "must be one tag of the instances, 'name=value', or up to {most}, "
              "separated by commas or line breaks; an instance must carry all of them.",
              r"[A-Za-z0-9 +._:/@-]{1,128}=[A-Za-z0-9 +._:/@=-]{1,128}", longest=257, required=False, most=5),
        Field("aws_instance_list", "lines", "must be lines 'account=instance,instance', one an account; '#' starts a "
              "comment.", longest=targets.MOST_BYTES - 2, required=False, most=1),
        Field("exclude_volumes", "texts", "must be ids of data volumes that are left out, 'vol-' and 17 (or 8) "
              "lower-case hexadecimal digits, at most {most}.", r"vol-(?:[0-9a-f]{17}|[0-9a-f]{8})", required=False,
              most=40),
        _switch("exclude_root"),
        Field("label", "text", "must be words for the snapshots' names: letters, digits, blanks, '.', '_' and '-', at "
              "most 40.", r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,39}", longest=40, required=False),
        Field("cloudtrail_days", "integer", "must be a whole number of days from {least} to {most}, for which "
              "CloudTrail is looked up (0: not at all).", r"[0-9]{1,2}", required=False, default=7, least=0, most=90),
        Field("afterwards", "text", "must be 'none' or 'triage' (look into what was captured).",
              allowed=("none", "triage"), required=False, default="none"),
        Field("contain", "texts", "must be the ids, again, of those of the instances that are contained after that, at "
              "most {most}.", _INSTANCE, required=False, most=50),
        _COMMON["attempt"],
    ),
    CONTAIN: (*_ONE_INSTANCE, _switch("network_acl"), _switch("revoke_sessions")),
    RELEASE: _ONE_INSTANCE,
    sharing.SHARE: sharing.WISH,
}
# What may be named on the command line alone: a file is read on the machine that runs the playbook.
LIST_FILE = Field("aws_instance_list_file", "text", "must be the name of a file with such lines.", r"[^\x00]{1,1024}",
                  longest=1024, required=False)
FILES: dict[str, Field] = {ACQUIRE: LIST_FILE}
# The right, among `rights` of a registry's entry, that a wish takes which is about no request in particular.
RIGHTS = {"expire": "retention"}


def names(wish: str) -> tuple[str, ...]:
    """The names of a wish's fields."""
    return tuple(field.name for field in WISHES[wish])


def checked(wish: str, raw: Mapping[str, Any], *, files: bool = False) -> tuple[dict[str, Any], list[Problem]]:
    """Check the fields of a wish as they arrived, unrendered.

    :param files: whether a field may name a file of this machine.
    """
    table = (*WISHES[wish], *([FILES[wish]] if files and wish in FILES else []))
    values, problems = check(raw, fields=table)
    if wish == "show" and not problems and (values["request_id"] is None) == (values["incident"] is None):
        problems = [Problem("request_id", "request_id or incident says what to show: give one of them.")]
    if wish == ACQUIRE and not problems:
        problems = _instances(values)
    if wish in (CONTAIN, RELEASE) and not problems and values["confirm_instance_id"] != values["aws_instance_id"]:
        problems = [Problem("confirm_instance_id", f"confirm_instance_id is not {values['aws_instance_id']}: type the "
                                                   "id of the instance that is meant, twice.")]
    if wish == sharing.SHARE and not problems:
        problems = sharing.problems(values)
    return values, problems


def needs_a_person(wish: str, values: Mapping[str, Any]) -> bool:
    """Whether a wish is never an event's, a schedule's or a service's."""
    return wish in (CONTAIN, RELEASE) or bool(wish == ACQUIRE and values.get("contain"))


def _instances(values: dict[str, Any]) -> list[Problem]:
    ways = ("aws_instance_id", "aws_instance_tags", "aws_instance_list", LIST_FILE.name)
    given = [name for name in ways if values.get(name) is not None]
    if len(given) != 1:
        return [Problem("aws_instance_id", "aws_instance_id or aws_instance_tags says what to acquire, or a list of "
                                           "several accounts' instances (aws_instance_list): give one of them.")]
    if given[0] in ways[2:]:
        if values["aws_account"] is not None:
            return [Problem("aws_account", "aws_account goes with aws_instance_id or aws_instance_tags: a list names "
                                           "the account in each line.")]
        try:
            if given[0] == LIST_FILE.name:
                values["listed"] = targets.parsed(targets.read_file(values[given[0]]), values[given[0]])
            else:
                values["listed"] = targets.parsed(values[given[0]], given[0])
        except targets.BadList as error:
            return [Problem(given[0], f"{given[0]}: {error}")]
    keys = [pair.partition("=")[0] for pair in values["aws_instance_tags"] or []]
    if len(set(keys)) < len(keys):
        return [Problem("aws_instance_tags", "aws_instance_tags names one tag twice: an instance has one value of it.")]
    others = set(values["contain"] or []) - set(values["aws_instance_id"] or [])
    if others:
        return [Problem("contain", f"contain names {min(others)}, which is not among aws_instance_id: an instance is "
                                   "contained by its id only, given twice.")]
    if values["contain"] and values["aws_account"] is not None:
        return [Problem("contain", "contain is for instances of this run's own account: leave aws_account away, or "
                                   "contain them by a run of that account (playbooks/contain_instance.yml).")]
    return []


def acquirer(entries: Iterable[Mapping[str, Any]], values: Mapping[str, Any], caller: registry.Caller,
             members: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The entry of whoever may acquire these instances in each of their accounts; `Refused` otherwise.

    :param members: how other accounts than the caller's are entered.
    """
    entries = list(entries)
    accounts = [str(target["account"]) for target in targets.wanted(values, caller.account)]
    analyst: dict[str, Any] = {}
    for account in accounts:
        analyst = granted(entries, values, caller._replace(account=account), ACQUIRE)
    field = "aws_account" if values.get("listed") is None else "aws_instance_list"
    for account in accounts:
        # Said to whom the registry lets in alone: which accounts there are is nobody else's business.
        if account != caller.account and not targets.entry_of(members or {}, account):
            raise registry.Refused(field, f"{field}: there is no way into the account {account}: it has no entry in "
                                          "dfir_aws_member_accounts.")
    return analyst


def granted(entries: Iterable[Mapping[str, Any]], values: Mapping[str, Any], caller: registry.Caller,
            mode: str) -> dict[str, Any]:
    """The entry of whoever may do this with instances of the caller's account; `Refused` otherwise."""
    region = values["aws_instance_region"]
    try:
        return registry.decide(entries, {**values, "forensics_mode": mode, "aws_analysis_region": region,
                                         "aws_snapshot_region": region}, caller)
    except registry.Refused as refusal:
        ours = {"aws_analysis_region": "aws_instance_region", "aws_snapshot_region": "aws_instance_region"}
        sentence = refusal.sentence
        for theirs, name in ours.items():
            sentence = sentence.replace(f"{theirs}:", f"{name}:")
        parts = dict.fromkeys(sentence.removesuffix(".").split("; "))  # one region stood in for two
        raise registry.Refused(ours.get(refusal.field, refusal.field), "; ".join(parts) + ".") from None


def allowed(entries: Iterable[Mapping[str, Any]], uid: str, caller: registry.Caller,
            records: Iterable[Mapping[str, Any]]) -> tuple[list[Mapping[str, Any]], list[registry.Refused]]:
    """Of these records those whose requests the analyst might have made, and why not the others."""
    entries = list(entries)
    seen, refusals = [], []
    for record in records:
        try:
            for snapshot in record["request"]["snapshots"]:
                registry.decide(entries, _values(record["request"], snapshot, uid), caller)
            if record["request"]["account"] != caller.account:
                raise registry.Refused("account", f"account: request {record['request_id']} is of another account.")
        except registry.Refused as refusal:
            refusals.append(refusal)
        else:
            seen.append(record)
    return seen, refusals


def allow_case(entries: Iterable[Mapping[str, Any]], uid: str, caller: registry.Caller, incident: str) -> None:
    """Refuse an incident that no grant of the analyst covers, in one sentence for "none" and for "not yours"."""
    if not registry.covers(registry.who(list(entries), uid, caller), caller, incident):
        raise registry.Refused("incident", f"There is no case of the incident {incident} that '{uid}' has a right to.")


def _values(request: Mapping[str, Any], snapshot: Mapping[str, Any], uid: str) -> dict[str, Any]:
    return {"analyst_uid": uid, "incident": request["incident"], "forensics_mode": request["mode"],
            "aws_analysis_region": request["analysis_region"], "aws_snapshot_region": snapshot["region"]}
