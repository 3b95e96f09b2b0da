# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one table of what a request may say.

Survey, webhook and command line all end here. The file uses the standard library only and imports nothing of ours, so
that an event filter, which cannot import collections, loads it by path. (NamedTuple rather than dataclass: a dataclass
with postponed annotations cannot be made in a module that is loaded by path and not registered in `sys.modules`.)
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

# `re.fullmatch` everywhere: with `match` and `$` a trailing newline gets through. All classes are ASCII: look-alikes
# from other alphabets are other names.
REGION = r"[a-z]{2,4}(?:-[a-z]{2,5})?-(?:north|south|east|west|central|northeast|northwest|southeast|southwest)-[1-9]"
SNAPSHOT_ID = r"snap-(?:[0-9a-f]{17}|[0-9a-f]{8})"
INSTANCE_TYPE = (
    r"(?P<family>[a-z]{1,4}[0-9]{1,2}[a-z0-9-]{0,12}|u-[0-9]{1,2}tb1)"
    r"\.(?:nano|micro|small|medium|large|(?:[1-9][0-9]{0,2})?xlarge|metal(?:-[1-9][0-9]?xl)?)"
)
INCIDENT = r"[A-Za-z0-9](?:[A-Za-z0-9_-]|\.(?!\.)){0,63}(?<![.])"
ANALYST = r"[a-z0-9][a-z0-9._-]{0,63}"
NUMBER = r"[0-9]{1,3}(?:\.[0-9]{1,3})?"
MONEY = r"[0-9]{1,6}(?:\.[0-9]{1,2})?"

# The bucket's own folders beside the incidents: an incident of such a name would write among records or tools.
RESERVED_INCIDENTS = frozenset({"requests", "toolbox", "claims", "custody", "retention"})

# No NVMe disks: the evidence could not be found by its volume id (`/dev/disk/by-id/nvme-...`).
XEN_FAMILIES = frozenset(
    ("t1", "t2", "m1", "m2", "m3", "m4", "c1", "c3", "c4", "cc1", "cc2", "cg1", "cr1", "r3", "r4", "x1", "x1e", "i2",
     "i3", "d2", "h1", "hi1", "hs1", "g2", "g3", "g3s", "p2", "p3", "f1")
)


class Field(NamedTuple):
    """One field: how it looks, and the sentence that is said when it does not."""

    name: str
    kind: str  # text, texts, lines, integer, number, boolean
    sentence: str
    pattern: str = ""
    longest: int = 64
    allowed: tuple[str, ...] = ()
    required: bool = True
    default: Any = None
    least: float = 0
    most: float = 0


class Problem(NamedTuple):
    """One thing that is wrong with a request. `sentence` starts with the field's name."""

    field: str
    sentence: str


FIELDS: tuple[Field, ...] = (
    Field("analyst_uid", "text", "must be an analyst's uid: lower-case letters, digits, '.', '_' and '-'.", ANALYST),
    Field(
        "incident",
        "text",
        "must be the incident's name: letters, digits, '-', '_' and single '.', at most 64 characters, "
        "starting with a letter or digit ('requests', 'toolbox' and 'claims' are taken).",
        INCIDENT,
    ),
    Field(
        "aws_analysis_region", "text", "must be the AWS region to analyze in, such as 'eu-west-1'.", REGION, longest=24
    ),
    Field(
        "aws_snapshot_region",
        "text",
        "must be the AWS region of the snapshot, such as 'us-east-1' (empty: the analysis region).",
        REGION,
        longest=24,
        required=False,
    ),
    Field(
        "aws_snapshot_id",
        "texts",
        "must be one snapshot id, 'snap-' and 17 (or, for old ones, 8) lower-case hexadecimal digits, or up to {most} "
        "different ones of one instance, separated by commas or line breaks.",
        SNAPSHOT_ID,
        most=12,
    ),
    Field(
        "aws_ec2_instance_type",
        "text",
        "must be an x86_64 instance type on Nitro, such as 'm6i.large' (the analysis image is built for amd64, "
        "and disks are found by their NVMe names).",
        INSTANCE_TYPE,
        longest=32,
        required=False,
        default="m6i.large",
    ),
    Field("forensics_mode", "text", "must be 'automatic' or 'manual'.", allowed=("automatic", "manual"),
          required=False, default="automatic"),
    Field("journal", "text", "must be 'auto', 'both' or 'ignore'.", allowed=("auto", "both", "ignore"),
          required=False, default="auto"),
    Field("evidence_by", "text", "must be 'volume' (made from the snapshot) or 'direct' (an empty volume, filled and "
          "hashed block by block).", allowed=("volume", "direct"), required=False, default="volume"),
    Field(
        "time_limit_hours",
        "number",
        "must be a number of hours from {least} to {most}, or empty for a limit that fits the volume.",
        NUMBER,
        required=False,
        least=1,
        most=72,
    ),
    Field(
        "max_cost_usd",
        "number",
        "must be a number of US dollars from {least} to {most}, or empty for the operator's limit alone.",
        MONEY,
        required=False,
        least=0.01,
        most=100000,
    ),
    Field(
        "max_hours",
        "number",
        "must be a number of hours from {least} to {most}, or empty for the operator's limit alone.",
        NUMBER,
        required=False,
        least=0.01,
        most=999,
    ),
    Field(
        "wait_for_results", "boolean", "must be true or false.", allowed=("true", "false"), required=False, default=True
    ),
    Field(
        "attempt",
        "integer",
        "must be a whole number from {least} to {most}; raise it to run a finished request once more.",
        r"[0-9]{1,2}",
        required=False,
        default=1,
        least=1,
        most=99,
    ),
)
NAMES: tuple[str, ...] = tuple(field.name for field in FIELDS)
_BOOLEANS = {"true": True, "yes": True, "false": False, "no": False}


def check(raw: Mapping[str, Any], *, limits: Mapping[str, tuple[float, float]] | None = None,
          fields: tuple[Field, ...] = FIELDS) -> tuple[dict[str, Any], list[Problem]]:
    """Check every field of a request as it arrived, unrendered.

    :param raw: variables by name. Names that are not in the table are not looked at.
    :param fields: another table than that of a request to analyze.
    :param limits: other bounds for numbers, by field: an operator may narrow or widen them.
    :returns: the values (all fields, defaults filled in, plain types) and what is wrong. Values may be used only when
        nothing is wrong.
    """
    values: dict[str, Any] = {}
    problems: list[Problem] = []
    for field in fields:
        least, most = (limits or {}).get(field.name, (field.least, field.most))
        field = field._replace(least=least, most=most)
        try:
            values[field.name] = _value(field, raw.get(field.name))
        except ValueError as error:
            problems.append(Problem(field.name, str(error)))
    if "aws_snapshot_region" in values and values["aws_snapshot_region"] is None:
        values["aws_snapshot_region"] = values.get("aws_analysis_region")
    return values, problems


def is_arm(family: str) -> bool:
    """True for Graviton and Grace families: `a1`, or a `g` behind the generation (`m7g`, `c6gn`, `is4gen`)."""
    match = re.fullmatch(r"[a-z]+[0-9]+([a-z0-9-]*)", family)
    return family == "a1" or bool(match and "g" in match.group(1))


def _value(field: Field, raw: Any) -> Any:
    """The plain value of one field; ValueError carries the sentence."""
    if raw is None or (isinstance(raw, str) and raw == ""):  # surveys send "" for what was left empty
        if field.required:
            raise ValueError(f"{field.name} is missing: it {_sentence(field)}")
        return field.default
    if field.kind == "texts":
        return _texts(field, raw)
    if field.kind == "lines":
        return _lines(field, raw)
    if isinstance(raw, (list, tuple, dict, set)):
        raise ValueError(f"{field.name} must be a single value, not a list or a dictionary: it {_sentence(field)}")
    if field.kind == "text":
        return _text(field, raw)
    if field.kind == "boolean":
        return _boolean(field, raw)
    return _number(field, raw)


def _texts(field: Field, raw: Any) -> list[str]:
    """Several texts: a list, or one text with commas or line breaks between them, as surveys send it. Sorted, since
    their order says nothing: the same set is the same request."""
    if isinstance(raw, str):
        if str.__len__(raw) > (field.longest + 2) * int(field.most):
            raise ValueError(f"{field.name} is too long ({str.__len__(raw)} characters): it {_sentence(field)}")
        given: list[Any] = [part.strip(" ") for part in re.split(r",|\r?\n", str.__str__(raw))]
    elif isinstance(raw, (list, tuple)):
        given = list(raw)
    else:
        raise ValueError(f"{field.name} {_sentence(field)}")
    if not 0 < len(given) <= field.most:
        raise ValueError(f"{field.name} names {len(given)} of them: it {_sentence(field)}")
    if any(isinstance(item, (list, tuple, dict, set)) for item in given):
        raise ValueError(f"{field.name}: each item must be a single value, not a list or a dictionary: it "
                         f"{_sentence(field)}")
    texts = [_text(field, item) for item in given]
    if len(set(texts)) < len(texts):
        raise ValueError(f"{field.name} names one of them twice: it {_sentence(field)}")
    return sorted(texts)


def _lines(field: Field, raw: Any) -> str:
    """Text of several lines, which whoever reads it checks line by line; also as a list of lines."""
    if isinstance(raw, (list, tuple)):
        if not all(isinstance(line, str) for line in raw):
            raise ValueError(f"{field.name} {_sentence(field)}")
        raw = "\n".join(str.__str__(line) for line in raw)
    if not isinstance(raw, str):
        raise ValueError(f"{field.name} {_sentence(field)}")
    if str.__len__(raw) > field.longest:
        raise ValueError(f"{field.name} is too long ({str.__len__(raw)} characters): it {_sentence(field)}")
    return "\n".join(_plain(field, line.replace("\t", " ")) for line in re.split(r"\r?\n", str.__str__(raw)))


def _text(field: Field, raw: Any) -> str:
    if not isinstance(raw, str):
        raise ValueError(f"{field.name} {_sentence(field)}")
    text = _plain(field, raw)
    if field.allowed:
        good = text in field.allowed
    else:
        match = re.fullmatch(field.pattern, text)
        good = bool(match) and _well_chosen(field.name, text, match)
    if not good:
        raise ValueError(f"{field.name} {_sentence(field)}")
    return text


def _well_chosen(name: str, text: str, match: re.Match[str] | None) -> bool:
    """What an expression cannot say."""
    if name == "incident":
        return text.lower() not in RESERVED_INCIDENTS
    if name == "aws_ec2_instance_type" and match is not None:
        family = match.group("family")
        return not is_arm(family) and family not in XEN_FAMILIES and not family.startswith("mac")
    return True


def _boolean(field: Field, raw: Any) -> bool:
    if isinstance(raw, bool):
        return raw
    if isinstance(raw, str):
        text = _plain(field, raw).lower()
        if text in _BOOLEANS:
            return _BOOLEANS[text]
    raise ValueError(f"{field.name} {_sentence(field)}")


def _number(field: Field, raw: Any) -> float | int:
    wrong = ValueError(f"{field.name} {_sentence(field)}")
    if isinstance(raw, bool):  # a bool is an int to Python
        raise wrong
    if isinstance(raw, str):
        text = _plain(field, raw)
    elif isinstance(raw, (int, float)):
        text = repr(int(raw)) if float(raw).is_integer() else repr(float(raw))
    else:
        raise wrong
    if not re.fullmatch(field.pattern, text):
        raise wrong
    number = float(text)
    if not field.least <= number <= field.most:
        raise wrong
    return int(number) if number.is_integer() else number


def _plain(field: Field, raw: str) -> str:
    """A built-in string of printable ASCII, whatever subclass (tagged, unsafe) it arrived in."""
    if any(str.__contains__(raw, mark) for mark in ("{{", "{%", "{#")):
        raise ValueError(f"{field.name} holds a template, which is never rendered: it {_sentence(field)}")
    if str.__len__(raw) > field.longest:
        raise ValueError(f"{field.name} is too long ({str.__len__(raw)} characters): it {_sentence(field)}")
    try:
        text = str.encode(raw, "ascii").decode("ascii")
    except UnicodeEncodeError:
        raise ValueError(f"{field.name} holds characters outside ASCII: it {_sentence(field)}") from None
    if not text.isprintable():
        raise ValueError(f"{field.name} holds a line break or another control character: it {_sentence(field)}")
    return text


def _sentence(field: Field) -> str:
    return field.sentence.format(least=_short(field.least), most=_short(field.most))


def _short(number: float) -> str:
    return str(int(number)) if float(number).is_integer() else str(number)
