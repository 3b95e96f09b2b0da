# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which statements of which policies were used: the account of what callers needed and what allowed or denied it.

A policy is known by the names (`Sid`) of its statements, since names under which it is attached differ. What is noted
can go to a folder (`DFIR_LAB_USAGE`), so that what several labs saw can be put together.
"""

from __future__ import annotations

import json
import os
import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .conditions import CannotEvaluate, as_list
from .policy import Need, PolicySet, applies
from .principals import Principal

FOLDER = "DFIR_LAB_USAGE"


@dataclass(frozen=True)
class Use:
    """One thing that a caller needed, and one statement that spoke about it.

    :ivar caller: ARN of the user or of the role behind a session.
    :ivar allowed: whether the whole of the policies allowed it.
    :ivar sid: the statement's name; empty where no statement spoke about it.
    :ivar policy: the names of all statements of its policy.
    :ivar kind: `identity`, `boundary`, `session` or `resource`.
    """

    caller: str
    action: str
    resource: str
    allowed: bool
    sid: str = ""
    effect: str = ""
    policy: tuple[str, ...] = ()
    kind: str = ""


def names(document: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of a policy's statements; a statement without one has none."""
    return tuple(str(statement.get("Sid", "")) for statement in as_list(document["Statement"]))


def _kind(resource: str) -> str:
    """A resource without what differs from call to call: tests make thousands of objects and snapshots."""
    start, slash, _name = resource.partition("/")
    return f"{start}{slash}*" if slash and not start.startswith("arn:aws:s3") else start


class Usage:
    """The account. Thread-safe."""

    def __init__(self, folder: Path | None = None, name: str = "part") -> None:
        self.uses: set[Use] = set()
        self._lock = threading.Lock()
        self._file = folder / f"{name}-{os.getpid()}-{uuid.uuid4().hex[:8]}.jsonl" if folder else None
        if folder:
            folder.mkdir(parents=True, exist_ok=True)

    @classmethod
    def of_environment(cls, name: str = "part") -> Usage:
        """One that keeps what it sees where the environment says; `whole` for a lab with hosts and all, else `part`."""
        return cls(Path(os.environ[FOLDER]) if os.environ.get(FOLDER) else None, name)

    def note(self, caller: Principal, need: Need, policies: PolicySet, resource: Iterable[Mapping[str, Any]],
             allowed: bool, account: str) -> None:
        """Keep which statements spoke about a need."""
        if caller.anonymous:
            return
        found = {Use(caller.principal_arn, need.action, _kind(need.resource), allowed, *spoke)
                 for spoke in _spoke(caller, need, policies, resource, account)}
        with self._lock:
            new = (found or {Use(caller.principal_arn, need.action, _kind(need.resource), allowed)}) - self.uses
            self.uses |= new
            if new and self._file is not None:
                with self._file.open("a", encoding="utf-8") as file:
                    file.writelines(json.dumps(asdict(use)) + "\n" for use in new)


def _spoke(caller: Principal, need: Need, policies: PolicySet, resource: Iterable[Mapping[str, Any]],
           account: str) -> Iterator[tuple[str, str, tuple[str, ...], str]]:
    boundary = [policies.boundary] if policies.boundary is not None else []
    for kind, documents, principals in (("identity", policies.identity, None), ("boundary", boundary, None),
                                        ("session", policies.session, None), ("resource", resource, caller.arns)):
        for document in documents:
            for statement in as_list(document["Statement"]):
                try:
                    if applies(statement, need, principals, account):
                        yield str(statement.get("Sid", "")), str(statement["Effect"]), names(document), kind
                except CannotEvaluate:  # the decision was made without this statement
                    continue


def read(folder: Path, name: str = "*") -> set[Use]:
    """What labs kept in a folder: all, or those of one name."""
    lines = [line for path in sorted(folder.glob(f"{name}-*.jsonl"))
             for line in path.read_text(encoding="utf-8").splitlines()]
    return {Use(**{**told, "policy": tuple(told["policy"])}) for told in map(json.loads, lines)}
