# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the set-up of an account is made of: steps that say what they would do, and do it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

try:
    from botocore.exceptions import ClientError
except ImportError:  # AnsibleAWSModule says so in a sentence
    ClientError = Exception  # type: ignore[assignment,misc]

TAG, TAG_VALUE = "dfir:setup", "dfir.aws"
CREATE, CHANGE, REMOVE = "create", "change", "remove"
KEEP, STAY, REFUSE = "keep", "stay", "refuse"
CHANGES = (CREATE, CHANGE, REMOVE)


class SetupError(Exception):
    """One sentence that says what is wrong with what is wanted, and what to do."""


@dataclass(frozen=True)
class Step:
    """One thing of the set-up.

    :ivar thing: what it is and how it is called: "role dfir-controller".
    :ivar verb: `create`, `change` or `remove`; `keep` what is as it should be; `stay`, what a removal leaves, or what
        is not ours to change; `refuse`, what stands in the way of everything.
    :ivar detail: what differs, or why it stays.
    :ivar monthly: US dollars a month while it exists.
    :ivar priced: what its use costs, in words.
    :ivar act: does it.
    """

    part: str
    thing: str
    verb: str
    detail: str = ""
    monthly: float = 0.0
    priced: str = ""
    act: Callable[[], Any] | None = field(default=None, repr=False, compare=False)

    def facts(self) -> dict[str, Any]:
        """The step as data."""
        return {name: getattr(self, name) for name in ("part", "thing", "verb", "detail", "monthly", "priced")}


@dataclass(frozen=True)
class Site:
    """Where it is set up. `client(service, region)` gives a boto3 client.

    :ivar adopt: take over what exists without our tag, instead of refusing to change it.
    """

    account: str
    partition: str
    client: Callable[[str, str], Any]
    adopt: bool = False

    def iam(self, kind: str, name: str, path: str = "/") -> str:
        """The ARN of something of IAM's."""
        return f"arn:{self.partition}:iam::{self.account}:{kind}{path}{name}"


def code_of(error: ClientError) -> str:
    """AWS's own name for what went wrong."""
    return str(error.response.get("Error", {}).get("Code", ""))


def unless(missing: Iterable[str], ask: Callable[[], Any]) -> Any:
    """What a call answers; None where AWS says, by one of these names, that there is none."""
    try:
        return ask()
    except ClientError as error:
        if code_of(error) not in missing:
            raise
        return None


def tags_of(listed: Sequence[Mapping[str, str]] | None, key: str = "Key", value: str = "Value") -> dict[str, str]:
    """Tags as a dictionary."""
    return {tag[key]: tag[value] for tag in listed or []}


def our_tags(key: str = "Key", value: str = "Value", **more: str) -> list[dict[str, str]]:
    """The tags that say that something is ours to change and to remove."""
    return [{key: name, value: text} for name, text in {TAG: TAG_VALUE, **more}.items()]


def same(one: Any, other: Any) -> bool:
    """Whether two policy documents say the same; AWS gives back single values where lists of one were given."""
    return bool(_plain(one) == _plain(other))


def _plain(value: Any, key: str = "") -> Any:
    if isinstance(value, str) and key == "":
        value = json.loads(value)
    if isinstance(value, Mapping):
        return {name: _plain(inner, name) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        items = [_plain(item, "-") for item in value]
        if len(items) == 1:
            return items[0]
        return sorted(items, key=lambda item: json.dumps(item, sort_keys=True)) if key != "Statement" else items
    return str(value).lower() if isinstance(value, bool) else value


def managed(site: Site, part: str, thing: str, ours: bool, differs: Sequence[str], tag: Callable[[], Any],
            change: Callable[[], Any], *, monthly: float = 0.0, priced: str = "", how: str = "") -> Step:
    """The step of something that exists: kept as it is, taken over, changed, or refused because it is not ours.

    :param differs: what is not as it should be, in words.
    :param tag: makes it ours.
    :param how: the command that makes it ours, for the sentence.
    """
    def step(verb: str, detail: str, act: Callable[[], Any] | None = None) -> Step:
        return Step(part, thing, verb, detail, monthly, priced, act)

    def both() -> None:
        if not ours:
            tag()
        if differs:
            change()

    words = ", ".join(differs)
    if ours or site.adopt:
        taken = [] if ours else ["taken over"]
        return step(CHANGE, ", ".join([*taken, *differs]), both) if differs or not ours else step(KEEP, "")
    if not differs:
        return step(KEEP, f"not ours: no tag {TAG}")
    return step(REFUSE, f"differs ({words}) and carries no tag {TAG}: hand it over with account_setup_adopt=true"
                        f"{f' or {how}' if how else ''}, or leave the part {part} out")


def lines(steps: Sequence[Step]) -> list[str]:
    """The plan for people, with what it costs."""
    wide = max((len(step.thing) for step in steps), default=0)
    told = []
    for step in steps:
        cost = f"{step.monthly:.2f} USD a month" if step.monthly and step.verb in (CREATE, CHANGE, KEEP) else ""
        use = step.priced if step.verb in (CREATE, CHANGE, KEEP) else ""
        told.append("  ".join(text for text in (f"{step.verb:7}", f"{step.thing:{wide}}", step.detail,
                                                "; ".join(filter(None, (cost, use)))) if text).rstrip())
    return told


def monthly(steps: Sequence[Step]) -> float:
    """What everything that is to exist costs a month, in US dollars, without its use."""
    return round(sum(step.monthly for step in steps if step.verb in (CREATE, CHANGE, KEEP)), 2)


def cost(steps: Sequence[Step]) -> str:
    """What it costs, in one line."""
    return f"costs    {monthly(steps):.2f} USD a month and what is used, by list prices of us-east-1, to be checked"
