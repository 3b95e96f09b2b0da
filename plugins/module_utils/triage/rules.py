# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A team's own rules: paths, words in files, and lists of hashes and indicators.

    - id: kinsing
      severity: critical
      reason: the miner Kinsing was here
      paths: ["/tmp/kinsing", "/var/tmp/kdevtmpfsi*"]   # any of these is there
    - id: dropper
      severity: high
      reason: downloads from an address of the campaign
      paths: ["/etc/cron.d/*", "/root/.bashrc"]
      words: ["198\\.51\\.100\\.\\d+", "evil\\.example"]   # and one of these is in it

An indicator list has one to a line: a SHA-256, a path, or a word to look for in jobs, units, profiles and histories;
what follows a `#` is a comment.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..ebs.errors import BadInput
from ..forensics.model import SEVERITIES, Finding
from ..forensics.scene import Scene
from .globs import matching

LIMIT = 4 << 20  # bytes of a file that words are looked for in
HASHED = 64 << 20  # bytes of the largest file that is hashed for a list
FILES = 5000  # that a rule's words are looked for in
_TEXTS = ("/etc/crontab", "/etc/cron.d/*", "/var/spool/cron/crontabs/*", "/etc/systemd/system/*", "/etc/rc.local",
          "/etc/profile.d/*", "/etc/hosts", "/etc/ld.so.preload", "/root/.bash_history", "/home/*/.bash_history",
          "/root/.bashrc", "/home/*/.bashrc", "/root/.ssh/authorized_keys", "/home/*/.ssh/authorized_keys",
          "/etc/sudoers.d/*", "/tmp/*", "/var/tmp/*", "/dev/shm/*")  # noqa: S108 - places in evidence
_KEYS = {"id", "severity", "reason", "paths", "words", "kind"}


@dataclass(frozen=True)
class Rule:
    """One rule: where `paths` lead, and which of the `words` must be there (any, if there are none)."""

    id: str
    severity: str
    reason: str
    paths: tuple[str, ...]
    words: tuple[re.Pattern[bytes], ...] = ()
    kind: str = "rule"

    def find(self, scene: Scene) -> Iterator[Finding]:
        """What of it there is."""
        left = FILES
        for entry in matching(scene.tree, self.paths):
            if not self.words:
                yield scene.finding(entry, self.id, self.kind, self.severity, self.reason, digest=True)
                continue
            left -= 1
            data = scene.tree.read(entry.path, LIMIT) if entry.is_file and left >= 0 else None
            for word in self.words if data else ():
                if match := word.search(data or b""):
                    yield scene.finding(entry, self.id, self.kind, self.severity, self.reason,
                                        line_around(data or b"", match.start()), digest=True)
                    break


@dataclass
class Rules:
    """Rules and indicators together."""

    rules: list[Rule] = field(default_factory=list)
    hashes: dict[str, str] = field(default_factory=dict)  # SHA-256: what the list says of it

    def find(self, scene: Scene) -> Iterator[Finding]:
        """Everything that the rules and lists find."""
        for rule in self.rules:
            yield from rule.find(scene)
        if self.hashes:
            yield from self._by_hash(scene)

    def _by_hash(self, scene: Scene) -> Iterator[Finding]:
        """Files that no package brought and that run, or lie where anybody may write: those whose hash is asked for."""
        for _folder, entries in scene.tree.walk():
            for entry in entries:
                if not entry.is_file or not 0 < entry.info.st_size <= HASHED:
                    continue
                anybody = entry.path.startswith((b"/tmp/", b"/var/tmp/", b"/dev/shm/", b"/home/", b"/root/", b"/opt/",
                                                 b"/var/www/", b"/srv/"))
                if not (anybody or entry.executable) or (scene.packages.known and scene.packages.owns(entry.path)):
                    continue
                digest = scene.digest(entry)
                if digest in self.hashes:
                    found = scene.finding(entry, "known_hash", "indicator", "critical",
                                          f"its SHA-256 is in the list of hashes{_said(self.hashes[digest])}")
                    found.sha256 = digest
                    yield found


def _said(note: str) -> str:
    return f": {note}" if note else ""


def line_around(data: bytes, place: int) -> str:
    start = max(data.rfind(b"\n", 0, place) + 1, place - 150)
    end = data.find(b"\n", place)
    return data[start:end if 0 <= end <= place + 250 else place + 250].decode("utf-8", "surrogateescape")


def load(rule_files: Iterable[Path], indicator_files: Iterable[Path] = ()) -> Rules:
    """Rules and lists from files; raises BadInput in one sentence for what cannot be used."""
    found = Rules()
    known: dict[str, Path] = {}
    for path in rule_files:
        for rule in _rules_of(path):
            if rule.id in known:
                raise BadInput(f"{path}: there is a rule {rule.id} in {known[rule.id]} already: give it another id.")
            known[rule.id] = path
            found.rules.append(rule)
    for path in indicator_files:
        _indicators_of(path, found)
    return found


def _rules_of(path: Path) -> list[Rule]:
    import yaml

    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} cannot be read: {error}.") from error
    except yaml.YAMLError as error:
        raise BadInput(f"{path} is no YAML: {' '.join(str(error).split())}.") from error
    if data is None:
        return []
    if not isinstance(data, list):
        raise BadInput(f"{path}: a list of rules is wanted, each with id, severity, reason and paths.")
    return [_rule(item, f"{path}, rule {number}") for number, item in enumerate(data, 1)]


def _rule(item: Any, where: str) -> Rule:
    if not isinstance(item, dict) or not {"id", "severity", "reason", "paths"} <= set(item) or set(item) - _KEYS:
        raise BadInput(f"{where}: it needs id, severity, reason and paths, and may have kind and words.")
    if not isinstance(item["id"], str) or not re.fullmatch(r"[a-z0-9][a-z0-9_]{0,59}", item["id"]):
        raise BadInput(f"{where}: its id must be small letters, digits and underscores.")
    if item["severity"] not in SEVERITIES:
        raise BadInput(f"{where}: its severity must be one of {', '.join(SEVERITIES)}.")
    paths, words = item["paths"], item.get("words") or []
    if not _texts(paths) or not paths or not all(path.startswith("/") and path.strip("/") for path in paths):
        raise BadInput(f"{where}: its paths must be a list of absolute paths, in which * and ? may stand for names.")
    if not _texts(words) or not isinstance(item["reason"], str) or not isinstance(item.get("kind", ""), str):
        raise BadInput(f"{where}: its words must be a list of regular expressions, its reason and kind text.")
    try:
        compiled = tuple(re.compile(word.encode(), re.IGNORECASE) for word in words)
    except re.error as error:
        raise BadInput(f"{where}: a word is no regular expression ({error}).") from error
    return Rule(item["id"], item["severity"], item["reason"], tuple(paths), compiled, item.get("kind") or "rule")


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) and item for item in value)


def _indicators_of(path: Path, found: Rules) -> None:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} cannot be read: {error}.") from error
    words: list[re.Pattern[bytes]] = []
    paths: list[str] = []
    for raw in lines:
        value, _unused, note = raw.partition("#")
        value, note = value.strip(), note.strip()
        if re.fullmatch(r"[0-9a-fA-F]{64}", value):
            found.hashes[value.lower()] = note
        elif value.startswith("/") and value.strip("/"):
            paths.append(value)
        elif value:
            words.append(re.compile(re.escape(value.encode()), re.IGNORECASE))
    name = re.sub(r"[^a-z0-9_]", "_", path.stem.lower())[:40]
    if paths:
        found.rules.append(Rule(f"path_{name}", "high", f"its path is in the list {path.name}", tuple(paths),
                                kind="indicator"))
    if words:
        found.rules.append(Rule(f"word_{name}", "high", f"it holds a word of the list {path.name}", _TEXTS,
                                tuple(words), kind="indicator"))
