# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The image of tools: how it is built, what a scanner says of it, and what people are told of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.dfir.aws.plugins.module_utils.plain_facts import WORD
from ansible_collections.dfir.aws.plugins.module_utils.request_spec import parse_iso
from ansible_collections.dfir.aws.plugins.module_utils.toolbox_context import CONTAINERFILE

KINDS = {"yara": "YARA", "clamav": "ClamAV"}
SEVERITIES = ("critical", "high", "medium", "low", "negligible", "unknown")
MOST_SETS = 40
LONGEST = 40


def rule_ages(content: Mapping[str, Any] | None, oldest: float = 0, now: str = "") -> dict[str, Any]:
    """Sets of rules and signatures with their versions and ages, and warnings about those that are too old.

    What an image says of itself comes from a host, where malware may have run: only words get through.

    :param oldest: days after which a set is too old; 0 warns of none.
    :param now: the moment that ages are counted to; empty: now.
    """
    content = content if isinstance(content, Mapping) else {}
    moment = parse_iso(now) if now else datetime.now(timezone.utc)
    given = content.get("sets")
    sets: list[dict[str, Any]] = []
    for item in given[:MOST_SETS] if isinstance(given, list) else []:
        if isinstance(item, Mapping) and item.get("kind") in KINDS:
            sets.append(_told(item, moment, float(oldest)))
    newer = "publish a newer image (playbooks/update_toolbox.yml)."
    warnings = [f"{one['kind']} {one['name']} is {one['days']} days old, more than {float(oldest):.0f}: {newer}"
                for one in sets if one["old"]]
    return {"known": bool(sets), "image": _word(content.get("image"), ""), "sets": sets, "warnings": warnings}


def _told(item: Mapping[str, Any], now: datetime, oldest: float) -> dict[str, Any]:
    days = _days(item.get("date"), now)
    old = days is not None and 0 < oldest < days
    files = item.get("files")
    age = "of unknown age" if days is None else f"of {_word(item['date'], '')[:10]}, {days} days old"
    return {"kind": KINDS[item["kind"]], "name": _word(item.get("name"), "unknown"), "days": days, "old": old,
            "version": _word(item.get("version"), "unknown"), "age": age,
            "files": files if isinstance(files, int) and 0 <= files < 10**6 else 0}


def _days(date: Any, now: datetime) -> int | None:
    try:
        return max(0, (now - parse_iso(str(date))).days) if date else None
    except ValueError:
        return None


def _word(value: Any, otherwise: str) -> str:
    return value[:LONGEST] if isinstance(value, str) and WORD.fullmatch(value) else otherwise


def rule_sources(rules: Sequence[Mapping[str, Any]], folder: str) -> list[dict[str, Any]]:
    """A team's rules as M(dfir.aws.toolbox_context) takes them; what comes from an address lies below a folder then."""
    sources: list[dict[str, Any]] = []
    for rule in rules:
        unknown = sorted(set(rule) - {"kind", "name", "path", "url", "checksum", "version", "date"})
        start = f"toolbox_image_rules, '{rule.get('name', '?')}'"
        if unknown or not rule.get("name") or rule.get("kind") not in KINDS:
            what = f"does not know {', '.join(unknown)}" if unknown else "needs a name, and kind yara or clamav"
            raise AnsibleFilterError(f"{start} {what}.")
        url = str(rule.get("url") or "")
        if bool(url) == bool(rule.get("path")):
            raise AnsibleFilterError(f"{start} needs either a path or a url.")
        if url and not url.startswith("https://") and not rule.get("checksum"):
            raise AnsibleFilterError(f"{start} comes over an unprotected way: give a https address, or a checksum.")
        file = url.split("?", maxsplit=1)[0].rsplit("/", 1)[-1]
        path = rule.get("path") or f"{folder}/{rule['kind']}-{rule['name']}"
        sources.append({"kind": rule["kind"], "name": rule["name"], "path": path, "url": url,
                        "file": re.sub(r"[^A-Za-z0-9_.-]", "-", file) or "rules",
                        "checksum": str(rule.get("checksum") or ""), "version": str(rule.get("version") or ""),
                        "date": str(rule.get("date") or "")})
    return sources


def context_rules(sources: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What M(dfir.aws.toolbox_context) is told of rules that are there by now."""
    return [{name: source[name] for name in ("kind", "name", "path", "version", "date")} for source in sources]


def days_since(moment: str) -> int:
    """Whole days from a moment in UTC until now; 0 for what is no moment."""
    return _days(moment, datetime.now(timezone.utc)) or 0


def podman_build(podman: Sequence[str], context: str, tag: str, inputs: Mapping[str, str], *,
                 lent: Sequence[Mapping[str, str]] = (), options: Sequence[str] = (), fresh: bool = False) -> list[str]:
    """The command that builds the image.

    :param inputs: arguments of the build, which the content's hash is over; C(BASE) among them.
    :param lent: files that are there during the build and do not stay, such as package sources: C(src) and C(dest).
    :param fresh: whether nothing of an earlier build is used, so that packages are as new as their sources have them.
    """
    words = [*podman, "build", "--quiet", "--layers"]
    words += ["--no-cache"] if fresh else []
    for name, value in {**inputs, "VERSION": tag.rsplit(":", 1)[-1]}.items():
        words += ["--build-arg", f"{name}={value}"]
    for item in lent:
        words += ["--volume", f"{item['src']}:{item['dest']}:ro"]
    return [*words, *options, "--tag", tag, "--file", f"{context}/{CONTAINERFILE}", context]


def vulnerabilities(report: Mapping[str, Any] | None, scanner: str = "") -> dict[str, Any]:
    """How many known vulnerabilities of which severity a scanner has found: grype's JSON, or trivy's.

    :param scanner: its name; empty when there is none, which is said plainly.
    """
    if not scanner:
        return {"scanner": None, "counts": {}, "worst": None,
                "text": "no scanner for known vulnerabilities (grype, trivy) is on the build host: none ran"}
    if not isinstance(report, Mapping) or not {"matches", "Results", "SchemaVersion"} & set(report):
        raise AnsibleFilterError(f"{scanner} gave no report that can be read.")
    found = [str((match.get("vulnerability") or {}).get("severity") or "") for match in report.get("matches") or []]
    found += [str(item.get("Severity") or "") for result in report.get("Results") or []
              for item in result.get("Vulnerabilities") or []]
    named = [word.lower() if word.lower() in SEVERITIES else "unknown" for word in found]
    counts = {severity: named.count(severity) for severity in SEVERITIES if severity in named}
    told = ", ".join(f"{count} {severity}" for severity, count in counts.items()) or "none known"
    return {"scanner": scanner, "counts": counts, "worst": next(iter(counts), None), "text": f"{scanner}: {told}"}


def too_severe(found: Mapping[str, Any], limit: str) -> bool:
    """Whether a scanner has found something as severe as a limit, or more. An empty limit refuses nothing."""
    if not limit:
        return False
    if limit not in SEVERITIES:
        raise AnsibleFilterError(f"{limit!r} is no severity: {', '.join(SEVERITIES)}.")
    refused = SEVERITIES[: SEVERITIES.index(limit) + 1]
    return any(severity in refused for severity in found.get("counts") or {})


def toolbox_settings(descriptor: Mapping[str, Any]) -> list[str]:
    """The lines of an inventory that make hosts use a published image."""
    lines = [f"dfir_aws_toolbox_image: {descriptor['reference']}"]
    if descriptor["registry"]:
        return [*lines, 'dfir_aws_toolbox_archive: ""', 'dfir_aws_toolbox_archive_checksum: ""']
    return [*lines, f"dfir_aws_toolbox_archive: {descriptor['archive']}",
            f"dfir_aws_toolbox_archive_checksum: {descriptor['checksum']}"]


class FilterModule:
    """Filters about the image of tools."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Names as playbooks use them, below `dfir.aws.`."""
        named = (rule_ages, rule_sources, context_rules, days_since, podman_build, vulnerabilities, too_severe,
                 toolbox_settings)
        return {function.__name__: function for function in named}
