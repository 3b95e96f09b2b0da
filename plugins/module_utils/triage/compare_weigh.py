# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How suspicious a change is, and why.

Updates, logs and administrators change most of what changes. So what a package brought since is left alone, and the
rest counts by what intruders need: times that contradict each other, places that start or admit somebody, traces that
are gone.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from ..forensics.model import SEVERITIES
from ..forensics.packages import Packages
from ..forensics.suspicion import reasons as suspicious
from ..forensics.suspicion import worst
from ..forensics.times import iso
from .compare_entries import OTHER, SAME, Change

Reason = tuple[str, str]
LINES_LIMIT = 256 << 10  # bytes of a text whose new lines are looked at
EXCERPT_LINES = 8
NEW_LINE = "a new line "
PACKAGED = "a package that was installed in between brought it"

_TEMPORARY = rb"/(?:tmp|var/tmp|dev/shm|run/shm)/"
# Places that make somebody come in, or something start: for what was added there, or holds something else.
_PLACES: tuple[tuple[str, str, re.Pattern[bytes]], ...] = tuple(
    (severity, why, re.compile(pattern)) for severity, why, pattern in (
        ("high", "every program loads what it names", rb"/etc/ld\.so\.preload"),
        ("medium", "it decides whose SSH keys are let in", rb".*/\.ssh/authorized_keys2?"),
        ("medium", "it decides who may become root", rb"/etc/sudoers(?:\.d/[^/]+)?"),
        ("medium", "it decides how anybody is let in",
         rb"/etc/pam\.d/[^/]+|/(?:usr/)?lib/(?:[^/]+/)?security/[^/]+\.so"),
        ("medium", "jobs start from it",
         rb"/etc/cron(?:tab|\.[a-z]+/[^/]+)|/var/spool/(?:cron|at)/.+|/etc/anacrontab"),
        ("medium", "services start from it", rb"/(?:etc|usr/lib|lib|run)/systemd/(?:system|user)/.+|"
         rb"/etc/init\.d/[^/]+|/etc/rc\.local|.*/\.config/(?:systemd/user|autostart)/.+"),
        ("medium", "the kernel loads it", rb"/(?:usr/)?lib/modules/.+\.ko(?:\.[a-z]+)?|/etc/modules(?:-load\.d/[^/]+)?|"
         rb"/etc/modprobe\.d/[^/]+"),
        ("medium", "the web server may run it",
         rb"/(?:var/www|srv|usr/share/nginx)/.*\.(?:php\d?|phtml|jspx?|aspx?|cgi|pl|py|sh)"),
        ("low", "it says which accounts there are", rb"/etc/(?:passwd|shadow|group|gshadow)"),
        ("low", "it runs at every login", rb"/etc/(?:profile|bash\.bashrc|environment|profile\.d/[^/]+)|"
         rb".*/\.(?:bashrc|bash_profile|bash_login|profile|zshrc)"),
        ("low", "it decides who may come in over the network", rb"/etc/ssh/sshd?_config(?:\.d/[^/]+)?|"
         rb"/etc/hosts(?:\.allow|\.deny)?"),
        ("low", "the machine starts from it", rb"/boot/.+"),
    ))
_PROGRAMS = re.compile(rb"/(?:usr/)?(?:local/)?s?bin/[^/]+|/(?:usr/)?lib(?:64|32|exec)?/.+\.so(?:\.[\d.]+)?")
_LOGS = re.compile(rb"/var/log/.+|/(?:var/)?run/utmp")
_HISTORY = re.compile(rb".*/\.(?:[a-z]+_)?history")
_TEXTS = re.compile(rb".*\.(?:sh|py|pl|php|service|timer|conf|desktop)|" + _TEMPORARY + rb"[^/]+")
_STAGED = re.compile(_TEMPORARY)


@dataclass
class Context:
    """What a change is weighed by: the packages of both moments, where both are known whole, and when the older of the
    two was made, in nanoseconds. `live`: the newer one was made while the system wrote, so times may lag behind."""

    before: Packages | None
    after: Packages | None
    since: int | None = None
    live: bool = False

    def packaged(self, path: bytes) -> bool:
        """Whether a package that came, or came anew, in between brought a file."""
        if self.after is None or self.before is None or not self.after.owns(path):
            return False
        brought = self.after.brought.get(self.after.normal(path))
        return brought is not None and brought != self.before.brought.get(self.before.normal(path))

    def owned(self, path: bytes) -> bool:
        """Whether a package brought it before and did not come anew; of rpm's, that is not known, so they are not."""
        if self.after is None or self.before is None or self.after.normal(path) in self.after.conffiles:
            return False
        return self.after.normal(path) in self.after.brought and not self.packaged(path)

    def foreign(self, path: bytes) -> bool:
        """Whether it is known that no package brought it."""
        return self.after is not None and self.after.foreign(path)


def weigh(change: Change, context: Context) -> None:
    """Give a change its severity and reasons."""
    if change.kind != "removed" and context.packaged(change.path):
        change.reasons = [PACKAGED]
        return
    found = [*_times(change, context), *_mode(change), *_place(change, context), *_traces(change)]
    change.reasons = [why for _severity, why in found]
    change.severity = worst(change.severity, *(severity for severity, _why in found))


def _times(change: Change, context: Context) -> Iterator[Reason]:
    """Times that contradict each other. The time of the inode is the one that no ordinary tool sets."""
    was, now = change.old, change.new
    if now is None or now.is_folder or not stat.S_ISREG(now.mode):
        return
    if was is None:
        old = (context.since is not None and now.mtime is not None and now.ctime is not None
               and now.mtime < context.since < now.ctime)
        if old and (now.mode & 0o111 or _watched(change.path)):
            yield "medium", f"it came in between and says that it was written before, {_second(now.mtime)}"
        return
    if None in (was.mtime, now.mtime):
        return
    if change.content == OTHER and was.mtime == now.mtime:
        if was.ctime == now.ctime:
            lags = context.live and not (now.mode & 0o111 or _watched(change.path))
            yield "medium" if lags else "high", (
                "its content is another and none of its times is: it was written past the file system, or with the "
                f"clock set back{', or in the last moments before the snapshot' if context.live else ''}")
        else:
            yield "high", "its content is another, and the time of its content was set back to what it was"
    elif (now.mtime or 0) < (was.mtime or 0) and change.kind != "renamed":
        more = "" if change.content == OTHER else ", and it holds the same" if change.content == SAME else ""
        changed = f"; the inode was changed {_second(now.ctime)}" if now.ctime is not None else ""
        yield "medium", (f"the time of its content was set back, from {_second(was.mtime)} to {_second(now.mtime)}"
                         f"{more}{changed}")


def _mode(change: Change) -> Iterator[Reason]:
    """What it may do now that it could not do before."""
    now = change.new
    if now is None or not stat.S_ISREG(now.mode):
        return
    before = change.old.mode if change.old is not None and stat.S_ISREG(change.old.mode) else 0
    gained = now.mode & ~before
    if gained & stat.S_ISUID or (gained & stat.S_ISGID and now.mode & stat.S_IXGRP):
        yield "high", f"it runs with the rights of {'uid' if gained & stat.S_ISUID else 'gid'} " \
                      f"{now.uid if gained & stat.S_ISUID else now.gid} whoever starts it, which is new"
    if change.old is None:
        return
    if gained & 0o111 and not before & 0o111:
        yield "low", "it became a program"
    if gained & 0o002:
        yield "low", "anybody may write to it now"
    if now.uid != change.old.uid and now.uid == 0:
        yield "low", "it belongs to root now"


def _place(change: Change, context: Context) -> Iterator[Reason]:
    """Where it lies."""
    now = change.new
    fresh = change.kind in ("added", "renamed") or change.content == OTHER or change.kind in ("changed", "undecided")
    if now is None or now.is_folder or not fresh:
        return
    path = change.path
    for severity, why, pattern in _PLACES:
        if pattern.fullmatch(path):
            yield severity, why
            break
    if context.owned(path) and change.content == OTHER:
        yield ("high" if _PROGRAMS.fullmatch(path) else "medium",
               "it belongs to a package, is another than before, and the package did not come anew")
    elif stat.S_ISREG(now.mode) and _PROGRAMS.fullmatch(path) and context.foreign(path):
        yield "medium", "a program among those of the system that no package brought"
    if stat.S_ISREG(now.mode) and _STAGED.match(path):
        if now.mode & 0o111:
            yield "medium", "a program where anybody may write"
        elif b"/." in path:
            yield "medium", "hidden where anybody may write"


def _traces(change: Change) -> Iterator[Reason]:
    """What told of somebody and tells less now. What was rotated has moved, and is none of these."""
    was, now = change.old, change.new
    if was is None or not stat.S_ISREG(was.mode):
        return
    if _LOGS.fullmatch(change.path):
        if change.kind == "removed":
            yield "medium", "a log that is gone, and did not move"
        elif now is not None and now.inode == was.inode and now.size < was.size and change.kind != "renamed":
            yield "high", f"a log that became shorter, from {was.size} to {now.size} bytes, in its place"
    elif _HISTORY.fullmatch(change.path):
        if change.kind == "removed":
            yield "medium", "a history of commands that is gone"
        elif now is not None and now.size < was.size:
            yield "medium", f"a history of commands that became shorter, from {was.size} to {now.size} bytes"


def _second(moment: int | None) -> str:
    """A time as a reader wants it; the fractions stand in the tables."""
    return iso(None if moment is None else moment // 10**9)


def _watched(path: bytes) -> bool:
    return any(pattern.fullmatch(path) for _severity, _why, pattern in _PLACES) or bool(_PROGRAMS.fullmatch(path))


def wants_lines(change: Change) -> bool:
    """Whether new lines of a file are worth being looked at."""
    now = change.new
    if now is None or not stat.S_ISREG(now.mode) or not 0 < now.size <= LINES_LIMIT or change.content == SAME:
        return False
    if PACKAGED in change.reasons:
        return False
    return _watched(change.path) or bool(_HISTORY.fullmatch(change.path) or _TEXTS.fullmatch(change.path))


def weigh_lines(change: Change, before: bytes, after: bytes) -> None:
    """What lines came to a text; binary ones have none."""
    if b"\0" in after[:8192]:
        return
    known = set(before.splitlines())
    fresh = [line for line in after.splitlines() if line.strip() and line not in known]
    if not fresh:
        return
    change.excerpt = "  ".join(f"+ {line.decode('utf-8', 'surrogateescape')}" for line in fresh[:EXCERPT_LINES])
    told = {reason.text: reason.severity for line in fresh for reason in
            suspicious(line.decode("utf-8", "surrogateescape"))}
    for text, severity in sorted(told.items(), key=lambda item: -SEVERITIES.index(item[1]))[:3]:
        change.reasons.append(f"{NEW_LINE}{text}")
        change.severity = worst(change.severity, severity)
