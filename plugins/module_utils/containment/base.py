# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What all steps of a containment share: hands that ask and do, and what a step is."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from types import MappingProxyType
from typing import Any, NamedTuple

TAG = "dfir:isolation"  # on the group and the network ACL that isolate, one of each a VPC
Item = dict[str, Any]


class ContainmentError(Exception):
    """One sentence that says why an instance cannot be contained or released, and what to do."""


class Wishes(NamedTuple):
    """What is only done when it is asked for, and by step the items that earlier runs recorded."""

    network_acl: bool = False
    revoke_sessions: bool = False
    recorded: Mapping[str, list[Item]] = MappingProxyType({})


class Hands:
    """Clients of one region. `do` is the only way to a change; in check mode it only says what it would do."""

    def __init__(self, client: Callable[[str], Any], *, check: bool = False, account: str = "",
                 now: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
                 pause: Callable[[float], None] = time.sleep) -> None:
        self._client, self.check, self.account, self.now, self.pause = client, check, account, now, pause
        self.done: list[str] = []

    def __call__(self, service: str) -> Any:
        """The client of a service, to ask."""
        return self._client(service)

    def do(self, said: str, service: str, operation: str, **arguments: Any) -> dict[str, Any]:
        """Change something, or say so. Empty in check mode."""
        self.done.append(said)
        answer: dict[str, Any] = {} if self.check else getattr(self(service), operation)(**arguments)
        return answer

    def checking(self) -> Hands:
        """The same hands, bound."""
        return Hands(self._client, check=True, account=self.account, now=self.now, pause=self.pause)


class Step:
    """One kind of setting. An item is one of them: its `key`, what it `was`, what containment `does` to it and how that
    is `undone`; `impossible` says why it cannot be done, and nothing is tried then. All of it goes into the record.

    `contain` and `release` ask for the present state first and change only what differs, so both can be run again
    after a crash at any point.
    """

    name = ""
    title = ""
    bound = True  # cannot come back once the instance is gone

    def look(self, hands: Hands, instance: Mapping[str, Any], wishes: Wishes) -> list[Item]:
        """All items as they are now. `ContainmentError` where the containment must not begin."""
        raise NotImplementedError

    def contain(self, hands: Hands, instance: Mapping[str, Any], item: Item) -> None:
        """Bring an item to the contained state."""
        raise NotImplementedError

    def release(self, hands: Hands, instance: Mapping[str, Any], item: Item) -> str:
        """Bring an item back to what it was. Returns why it does not come back, empty when it does."""
        raise NotImplementedError


def item(key: str, was: Any, does: str, undone: str, **more: Any) -> Item:
    """An item of a step. `does` is empty where there is nothing to change."""
    return {"key": key, "was": was, "does": does, "undone": undone, "impossible": "", **more}


def code_of(error: BaseException) -> str:
    """AWS' code of an error, or empty."""
    answer = getattr(error, "response", None) or {}
    return str(answer.get("Error", {}).get("Code", ""))


def pages(client: Any, operation: str, key: str, **arguments: Any) -> list[dict[str, Any]]:
    """All of a paginated list."""
    return [one for page in client.get_paginator(operation).paginate(**arguments) for one in page.get(key) or []]


def found(client: Any, instance_id: str) -> dict[str, Any] | None:
    """An instance, None when AWS does not know it."""
    # By filter: an id that is nobody's would be an error.
    groups = pages(client, "describe_instances", "Reservations",
                   Filters=[{"Name": "instance-id", "Values": [instance_id]}])
    return next((one for group in groups for one in group["Instances"]), None)


def state_of(instance: Mapping[str, Any] | None) -> str:
    """`gone` when AWS does not know it any more."""
    return str(instance["State"]["Name"]) if instance else "gone"


def is_gone(instance: Mapping[str, Any] | None) -> bool:
    """Whether nothing can be set at it any more."""
    return state_of(instance) in ("gone", "terminated", "shutting-down")


def tags_of(thing: Mapping[str, Any]) -> dict[str, str]:
    """Its tags."""
    return {str(tag["Key"]): str(tag.get("Value", "")) for tag in thing.get("Tags") or []}
