# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""For how long copies and artifacts of an incident are kept: classes of incidents, as the operator gives them.

An incident has the first class one of whose patterns covers its name. All of a class' conditions have to be over before
something goes.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta, timezone
from typing import Any, NamedTuple

from .request_spec import parse_iso

PATTERN = r"[A-Za-z0-9_.*?-]{1,64}"
STORAGE_CLASSES = ("STANDARD_IA", "INTELLIGENT_TIERING", "GLACIER_IR", "GLACIER", "DEEP_ARCHIVE")
CONDITIONS = ("keep_days", "keep_last", "keep_until", "legal_hold")
FIELDS = ("name", "incidents", *CONDITIONS, "artifacts")
ARTIFACTS = ("expire_days", "archive_days", "archive_class")
LONGEST = 36500  # days: a hundred years


class PolicyError(ValueError):
    """One sentence that says what is wrong with the classes, and what to do."""


class Artifacts(NamedTuple):
    """What S3 does with the objects of an incident, in days after each was written; 0 is never."""

    expire_days: int = 0
    archive_days: int = 0
    archive_class: str = "GLACIER"


class Policy(NamedTuple):
    """One class of incidents."""

    name: str
    incidents: tuple[str, ...]
    keep_days: float | None = None
    keep_last: int = 0
    keep_until: datetime | None = None
    legal_hold: bool = False
    artifacts: Artifacts = Artifacts()


def covers(pattern: str, incident: str) -> bool:
    """Whether a pattern covers a whole name; `*` and `?` are the only wildcards, and case counts."""
    expression = "".join({"*": ".*", "?": "."}.get(char, re.escape(char)) for char in pattern)
    return re.fullmatch(expression, incident) is not None


def of_incident(policies: Sequence[Policy], incident: str) -> Policy | None:
    """The class of an incident: the first that covers it."""
    return next((policy for policy in policies if any(covers(name, incident) for name in policy.incidents)), None)


def checked(raw: Any) -> list[Policy]:
    """The classes, once all of them proved to be some; `PolicyError` says which is not."""
    if not isinstance(raw, Sequence) or isinstance(raw, str) or not raw:
        raise PolicyError("The retention classes (dfir_aws_retention_classes) must be a list of at least one class, as "
                          "in roles/retention/defaults/main.yml.")
    policies: list[Policy] = []
    for number, given in enumerate(raw, 1):
        name = given.get("name") if isinstance(given, Mapping) else None
        shown = f"'{name}'" if isinstance(name, str) and re.fullmatch(r"[\w-]{1,40}", name, re.ASCII) else str(number)
        try:
            policies.append(_policy(given, policies))
        except PolicyError as error:
            raise PolicyError(f"The retention class {shown} (dfir_aws_retention_classes) {error}.") from None
    return policies


def _policy(given: Any, before: Sequence[Policy]) -> Policy:
    """One class; `PolicyError` is the end of a sentence."""
    if not isinstance(given, Mapping):
        raise PolicyError("is not a dictionary")
    _known(given, FIELDS)
    name = given.get("name")
    if not isinstance(name, str) or not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,39}", name):
        raise PolicyError("needs a name of lower-case letters, digits and '-', at most 40 of them")
    if any(policy.name == name for policy in before):
        raise PolicyError("is there twice: give each a name of its own")
    incidents = given.get("incidents")
    if not isinstance(incidents, Sequence) or isinstance(incidents, str) or not incidents or not all(
            isinstance(item, str) and re.fullmatch(PATTERN, item) for item in incidents):
        raise PolicyError("needs incidents: a list of names or patterns, such as INC-* (quote a lone '*')")
    hidden = next((policy.name for policy in before if "*" in policy.incidents), "")
    if hidden:
        raise PolicyError(f"can never be reached: the class '{hidden}' before it takes all incidents, so move that to "
                          "the end")
    if not any(key in given for key in CONDITIONS):
        raise PolicyError(f"says nothing of how long something is kept: give one of {', '.join(CONDITIONS)}")
    hold = given.get("legal_hold", False)
    if not isinstance(hold, bool):
        raise PolicyError("has a legal_hold that is neither true nor false")
    beside = [key for key in ("keep_days", "keep_last", "keep_until", "artifacts") if key in given]
    if hold and beside:
        raise PolicyError(f"is under legal hold, which keeps everything, and says {beside[0]} as well: take one of "
                          "them out")
    if given.get("legal_hold") is False and not any(key in given for key in CONDITIONS[:3]):
        raise PolicyError("only says that there is no legal_hold: give keep_days, keep_last or keep_until")
    return Policy(name, tuple(incidents), _number(given, "keep_days"), _whole(given, "keep_last", 1000),
                  _until(given.get("keep_until")), hold, _artifacts(given.get("artifacts")))


def _known(given: Mapping[str, Any], known: Sequence[str], of: str = "") -> None:
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"take it for {of}{near[0]}" if near else f"there are {', '.join(known)}"
            shown = f" {of}{key}" if re.fullmatch(r"\w{1,40}", str(key), re.ASCII) else ""
            raise PolicyError(f"has a field{shown} that no class has: {hint}")


def _number(given: Mapping[str, Any], key: str) -> float | None:
    value = given.get(key)
    if key not in given:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= LONGEST or math.isnan(value):
        raise PolicyError(f"has a {key} that is no number of days from 0 to {LONGEST}")
    return float(value)


def _whole(given: Mapping[str, Any], key: str, most: int, of: str = "") -> int:
    value = given.get(key, 0)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise PolicyError(f"has a {of}{key} that is no whole number from 0 to {most}")
    return value


def _until(value: Any) -> datetime | None:
    """The moment from which something may go. A day counts to its end, in UTC."""
    if value is None:
        return None
    text = value.isoformat() if isinstance(value, date) else str(value)  # YAML reads an unquoted day as one
    try:
        if re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII):
            return datetime.fromisoformat(text).replace(tzinfo=timezone.utc) + timedelta(days=1)
        return parse_iso(text)
    except ValueError:
        raise PolicyError("has a keep_until that is neither a day (2027-12-31) nor a moment in UTC "
                          "(2027-12-31T12:00:00Z)") from None


def _artifacts(given: Any) -> Artifacts:
    if given is None:
        return Artifacts()
    if not isinstance(given, Mapping) or not given:
        raise PolicyError("has artifacts that are no dictionary with expire_days or archive_days")
    _known(given, ARTIFACTS, "artifacts.")
    expire, archive = (_whole(given, key, LONGEST, "artifacts.") for key in ARTIFACTS[:2])
    kind = given.get("archive_class", Artifacts().archive_class)
    if kind not in STORAGE_CLASSES:
        raise PolicyError(f"has an artifacts.archive_class that is none of {', '.join(STORAGE_CLASSES)}")
    if not expire and not archive:
        raise PolicyError("has artifacts without expire_days and archive_days: give one of them, or take it out")
    # S3 takes 30 days at least before the infrequent-access class, and no expiry before a transition.
    if archive and kind == "STANDARD_IA" and archive < 30:
        raise PolicyError("archives to STANDARD_IA before 30 days, which S3 does not do: raise artifacts.archive_days")
    if expire and archive and expire <= archive:
        raise PolicyError("lets artifacts expire before it archives them: raise artifacts.expire_days above "
                          "artifacts.archive_days")
    return Artifacts(expire, archive, kind)
