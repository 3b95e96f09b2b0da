# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Web shells: scripts in web roots that run what a visitor sends, and scripts where only pictures should be."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator

from .model import Finding
from .scene import Scene
from .suspicion import worst
from .tree import Entry

ROOTS = ("/var/www", "/srv", "/usr/share/nginx", "/usr/local/www", "/opt", "/home", "/www", "/htdocs", "/webroot")
SCRIPTS = (b".php", b".phtml", b".php3", b".php4", b".php5", b".php7", b".phar", b".inc", b".jsp", b".jspx", b".asp",
           b".aspx", b".cfm", b".cgi", b".pl", b".py")
PHP = (b".php", b".phtml", b".php3", b".php4", b".php5", b".php7", b".phar", b".inc")
READ_LIMIT = 1 << 20
QUICK = 2000  # scripts that are read in a hurry though nothing points at them
DAY_NS = 86_400 * 1_000_000_000

_INPUT = r"\$_(?:GET|POST|REQUEST|COOKIE|SERVER|FILES)\b|php://input|\$HTTP_RAW_POST_DATA"
_DECODE = r"(?:base64_decode|gzinflate|gzuncompress|str_rot13|hex2bin|convert_uudecode|strrev|rawurldecode)"
_RUN = r"(?:eval|assert|system|exec|passthru|shell_exec|popen|proc_open|pcntl_exec|create_function)"
_CODE: tuple[tuple[str, str, str], ...] = (
    ("high", "runs what a visitor sends", rf"\b{_RUN}\s*\(\s*(?:@?\s*{_DECODE}\s*\(\s*)*[^;()]{{0,80}}(?:{_INPUT})"),
    ("high", "runs what a visitor sends, between backquotes", rf"`[^`\n]{{0,200}}(?:{_INPUT})"),
    ("high", "calls a function that a visitor names", rf"(?:{_INPUT})\s*\[[^\]]+\]\s*\("),
    ("high", "runs decoded text", rf"\b(?:eval|assert|create_function)\s*\(\s*(?:@?\s*{_DECODE}\s*\(\s*)+"),
    ("high", "replaces text by running it", r"preg_replace\s*\(\s*['\"](.).*\1[imsxuADSUXJ]*e[imsxuADSUXJ]*['\"]"),
    ("high", "runs what a visitor sends",
     r"(?:Runtime\.getRuntime\(\)\.exec|new\s+ProcessBuilder)\s*\([^;]{0,120}request\.getParameter"
     r"|(?:eval|Execute)\s*\(?\s*request(?:\.|\()|Process\.Start\s*\([^;]{0,200}Request\b"),
    ("medium", "builds the name of a function from pieces",
     r"\$\w+\s*=\s*(?:['\"][\w]{1,6}['\"]\s*\.\s*){1,}['\"]\w+['\"]\s*;\s*[^\n]{0,200}\$\w+\s*\("),
    ("medium", "holds a long encoded text next to a function that runs code",
     r"\b(?:eval|assert)\b[\s\S]{0,2000}['\"][A-Za-z0-9+/=]{400,}['\"]|['\"][A-Za-z0-9+/=]{400,}['\"][\s\S]{0,2000}\b(?:eval|assert)\s*\("),
)
_COMPILED = tuple((severity, why, re.compile(pattern, re.IGNORECASE)) for severity, why, pattern in _CODE)
_STATIC_FOLDER = re.compile(rb"/(?:uploads?|images?|img|media|assets|css|fonts|static|files|cache|tmp|icons|thumbs?)"
                            rb"(?:/|$)", re.IGNORECASE)
_ROOT_SETTING = re.compile(r"^\s*(?:DocumentRoot|root)\s+[\"']?(/[\w./-]+)", re.MULTILINE)


class Around:
    """What a script's folder holds, looked through once for all of its scripts."""

    def __init__(self, files: list[Entry]) -> None:
        self.count = len(files)
        self.scripts = sum(1 for entry in files if entry.name.lower().endswith(SCRIPTS))
        self.changes = sorted(entry.info.st_ctime_ns for entry in files)


def find(scene: Scene) -> Iterator[Finding]:
    """Scripts that look like web shells, in all web roots that the configuration or custom names.

    In a hurry only the scripts that changed last are read, and those that came after their neighbors or lie among files
    of other kinds.
    """
    done: set[bytes] = set()
    later: list[tuple[int, Entry, Around]] = []
    for root in _roots(scene):
        for folder, entries in scene.tree.walk(root):
            if folder in done:
                continue
            done.add(folder)
            files = [entry for entry in entries if entry.is_file]
            scripts = [entry for entry in files if entry.name.lower().endswith(SCRIPTS) or _handler(entry)]
            around = Around(files)
            for entry in scripts:
                if scene.quick and not _newer(entry, around) and not _among_static(entry, around):
                    later.append((entry.info.st_ctime_ns, entry, around))
                else:
                    yield from _script(scene, entry, around)
    later.sort(key=lambda item: -item[0])
    for _changed, entry, around in later[:QUICK]:
        yield from _script(scene, entry, around)
    if len(later) > QUICK:
        yield scene.finding(later[QUICK][1], "scripts_unread", "web_script", "info",
                            f"{len(later) - QUICK:,} scripts in web roots, this one and older ones, were not read")


def _roots(scene: Scene) -> list[str]:
    found = [root for root in ROOTS if scene.tree.lookup(root) is not None]
    for folder in ("/etc/apache2/sites-enabled", "/etc/apache2/sites-available", "/etc/nginx/sites-enabled",
                   "/etc/nginx/sites-available", "/etc/nginx/conf.d", "/etc/httpd/conf.d", "/etc/httpd/conf"):
        for entry in scene.tree.entries(folder):
            found += _ROOT_SETTING.findall(scene.tree.text(entry.path, 1 << 20) or "")
    # A data partition has no configuration: whatever it holds may be served.
    if scene.tree.lookup("/etc/passwd") is None:
        found.append("/")
    return list(dict.fromkeys(found))


def _handler(entry: Entry) -> bool:
    """A second extension, or a server's own file: `shell.php.jpg`, `.user.ini`."""
    return bool(re.search(rb"\.(?:php\d?|phtml|jsp|aspx?)\.\w+$", entry.name, re.IGNORECASE))


def judge_code(text: str) -> list[tuple[str, str, str]]:
    """`(severity, reason, excerpt)` for what a script does."""
    found = []
    for severity, why, pattern in _COMPILED:
        match = pattern.search(text)
        if match:
            start = text.rfind("\n", 0, match.start()) + 1
            found.append((severity, why, text[start:match.end() + 80].split("\n\n")[0]))
    return found


def _script(scene: Scene, entry: Entry, around: Around) -> Iterator[Finding]:
    if entry.info.st_size == 0 or scene.packages.owns(entry.path):
        return
    text = scene.tree.text(entry.path, READ_LIMIT) or ""
    is_php = entry.name.lower().endswith(PHP) or "<?php" in text[:4096]
    code = judge_code(text) if is_php or entry.name.lower().endswith((b".jsp", b".jspx", b".asp", b".aspx")) else []
    notes = [why for _unused, why, _unused in code]
    severity = worst("info", *(level for level, _unused, _unused in code))
    if len({why for level, why, _unused in code if level == "high"}) >= 2:
        severity = "critical"
    newer = _newer(entry, around)
    alone = _among_static(entry, around)
    if alone and is_php:
        notes.append("a script in a folder of static files")
        severity = worst(severity, "low")
    if newer and (code or alone):
        notes.append(f"came {newer} days after the files around it")
        severity = worst(severity, "medium")
    if not notes:
        return
    yield scene.finding(entry, "web_shell" if code else "misplaced_script", "web_shell" if code else "web_script",
                        severity, "; ".join(dict.fromkeys(notes)), code[0][2] if code else text[:200], digest=True)


def _among_static(entry: Entry, around: Around) -> bool:
    return bool(_STATIC_FOLDER.search(entry.path.rsplit(b"/", 1)[0])) and around.scripts * 2 <= around.count


def _newer(entry: Entry, around: Around) -> int:
    """How many days after nearly all of its neighbors this file was changed; 0 when it was not."""
    others = around.count - 1
    if others < 2:
        return 0
    place = int(others * 0.8) if others > 4 else others - 2
    place += place >= bisect_left(around.changes, entry.info.st_ctime_ns)  # itself does not count
    return max(0, (entry.info.st_ctime_ns - around.changes[place]) // DAY_NS)
