# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What makes a command line suspicious, in degrees.

Every pattern stands for something that administrators rarely do and intruders often. What administrators do as well
(a download into a shell from a named site, `nohup`, `chmod +x`) weighs little alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .model import SEVERITIES


@dataclass(frozen=True)
class Reason:
    """Why a text is suspicious, and how much."""

    severity: str
    text: str


_TEMPORARY = r"(?:/tmp|/var/tmp|/dev/shm|/run/shm|/dev/mqueue)"
_ADDRESS = r"https?://\d{1,3}(?:\.\d{1,3}){3}"
_TO_SHELL = r"\|\s*(?:sudo\s+)?(?:/\S*/)?(?:ba|da|z|k)?sh\b"
_PATTERNS: tuple[tuple[str, str, str], ...] = (
    ("critical", "talks to a mining pool", r"stratum\+(?:tcp|ssl|tls)|stratum1\+|daemon\+https?://"),
    ("high", "starts or configures a cryptocurrency miner",
     r"\b(?:xmrig|minerd|cpuminer|kdevtmpfsi|kinsing|xmr-stak|ccminer|nbminer)\b|--donate-level|--coin[= ]monero"),
    ("high", "opens a shell to another machine",
     r"/dev/(?:tcp|udp)/[\w.]+/\d+|\b(?:nc|ncat|netcat)\b[^|;&\n]*\s-\w*[ec]\b|\bsocat\b[^|;\n]*exec:|mkfifo\s+\S+[^\n]*\bnc\b"
     r"|import\s+socket[^\n]*(?:subprocess|pty|os\.dup2)|\bbash\s+-i\s*>&"),
    ("high", "downloads from a bare address straight into a shell",
     rf"\b(?:curl|wget|fetch)\b[^|;\n]*{_ADDRESS}[^;\n]*?{_TO_SHELL}"
     rf"|(?:ba)?sh\s+(?:-c\s+)?[\"']?(?:<\(|\$\(|`)\s*(?:curl|wget)[^)\n]*{_ADDRESS}"),
    ("high", "runs decoded text",
     rf"base64\s+(?:-d|-D|--decode)[^;\n]*?{_TO_SHELL}|\beval\s+[\"']?(?:\$\(|`)[^\n]*base64"
     r"|python3?\s+-c\s+[^\n]*b64decode|perl\s+-e\s+[^\n]*decode_base64|xxd\s+-r[^;\n]*\|\s*(?:ba)?sh\b"),
    ("high", "preloads a library into every program",
     r"(?:>|tee|cp|mv|install)[^;\n]*/etc/ld\.so\.preload|\bLD_PRELOAD=/(?:tmp|var/tmp|dev/shm)"),
    ("high", "makes another account root",
     r"\b(?:useradd|adduser|usermod)\b[^;\n]*-o\b[^;\n]*-u\s*0\b"
     r"|\b(?:useradd|usermod)\b[^;\n]*-u\s*0\b[^;\n]*-o\b"),
    ("high", "erases traces",
     r"(?:>|truncate\s+-s\s*0|shred|rm\s+-\w*f?\w*|cat\s+/dev/null\s*>|ln\s+-sf\s+/dev/null)\s*[^;\n|]*"
     r"(?:/var/log/(?:auth|secure|wtmp|btmp|lastlog|syslog|messages|audit)|/var/run/utmp|\.bash_history)|\bhistory\s+-\w*c\b"
     r"|\bunset\s+HISTFILE|HISTFILE=/dev/null|HISTSIZE=0\b|\bset\s+\+o\s+history"),
    ("high", "starts something from a hidden place in a temporary folder", rf"{_TEMPORARY}/(?:[\w.-]+/)*\.[\w-]"),
    ("medium", "changes file times by hand", r"\btouch\s+(?:-\w*\s+)*(?:-r|-t|-d|--reference|--date|-acmr|-mr)\b"),
    ("medium", "starts something from a temporary folder",
     rf"(?:^|[\s;&|(]|=|\bsh\s|\bbash\s|chmod\s+\S+\s+){_TEMPORARY}/[\w./-]+"),
    ("medium", "downloads straight into a shell", rf"\b(?:curl|wget|fetch)\b[^;\n]*?{_TO_SHELL}"),
    ("medium", "downloads from a bare address", rf"\b(?:curl|wget|fetch|lwp-download|aria2c)\b[^;\n]*{_ADDRESS}"),
    ("medium", "makes a file immutable", r"\bchattr\s+(?:-\w+\s+)*\+\w*[ia]"),
    ("medium", "ends other miners or security agents",
     r"\bp?kill(?:all)?\b[^;\n]*(?:kinsing|kdevtmpfsi|xmrig|minerd|aliyun|aegis|falcon|clamd|auditd)|setenforce\s+0"),
    ("medium", "sets a program's set-user-ID bit", r"\bchmod\s+(?:[0-7]*[4567][0-7]{3}|[ug+]*\+s)\b"),
    ("low", "adds an SSH key", r">>?\s*\S*\.ssh/authorized_keys|authorized_keys2?\b"),
    ("low", "looks into password hashes", r"\b(?:cat|less|cp|scp)\b[^;\n]*/etc/shadow\b"),
    ("low", "installs a scheduled job", r"\bcrontab\s+(?:-e|-\s*$|/)|>>?\s*/etc/cron|\bsystemctl\b[^;\n]*\benable\b"),
    ("low", "scans other machines", r"\b(?:nmap|masscan|zmap|hydra|medusa)\b"),
    ("low", "adds an account", r"\b(?:useradd|adduser)\b"),
)
_COMPILED = tuple((severity, text, re.compile(pattern, re.IGNORECASE)) for severity, text, pattern in _PATTERNS)


def reasons(text: str) -> list[Reason]:
    """Everything suspicious about a command line, the worst first. Later patterns say less than earlier ones."""
    return [Reason(severity, why) for severity, why, pattern in _COMPILED if pattern.search(text)]


def worst(*severities: str) -> str:
    """The highest of some severities."""
    return max(severities, key=SEVERITIES.index, default="info")


def raise_by_one(severity: str) -> str:
    """The next severity, up to `critical`."""
    return SEVERITIES[min(SEVERITIES.index(severity) + 1, len(SEVERITIES) - 1)]


MINER_MARKS = (b"stratum+tcp://", b"stratum+ssl://", b"donate-level", b"cryptonight", b"randomx", b"RandomX",
               b"mining.subscribe", b"xmrig", b"XMRig", b"nicehash", b"minerd", b"cpuminer", b"hashvault", b"nanopool",
               b"supportxmr", b"ethash", b"kawpow")


def miner_marks(data: bytes) -> list[str]:
    """Words in a program that only cryptocurrency miners carry together."""
    found = {mark.lower() for mark in MINER_MARKS if mark in data}
    return sorted(mark.decode() for mark in found)
