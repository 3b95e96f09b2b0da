# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Long waits with lines of progress: what every action plugin that waits has in common.

A line appears in the job output when something has changed, and never less often than every ten seconds. On Ansible
Automation Platform each one is kept in the database, hence not more often than that for what changes all the time.
"""

from __future__ import annotations

import json
import os
import shlex
import time
from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.utils.display import Display
from ansible_collections.dfir.aws.plugins.module_utils.guard import LEASE_SECONDS, waiting_process
from ansible_collections.dfir.aws.plugins.plugin_utils.near import NearAction

# Work reports every six seconds (`slice` of aws_wait) and a busy controller takes some to start it again: with every
# report shown, a line is never more than ten seconds away.
SECONDS_BETWEEN_LINES = 5.5
LOWEST_PERCENT_FOR_AN_ESTIMATE = 2
KILLED_BY_WRAPPER = "Timeout exceeded"  # what ansible-core's async wrapper says of a job whose time it ended
GRACE = 60  # seconds later than we would, the wrapper ends a job that nobody waits for any more

# Ends what a job of the async wrapper started, all of its session. The wrapper itself kills a process group that the
# module may not be in: it sets the group after the fork, when on a busy machine the module runs already. It stays, and
# tidies up. %s: the job's number (apart from its letter, lest this shell is taken for the wrapper).
STOP = r"""
job=%s
session_of() { sed 's/.*) //' "$1/stat" 2>/dev/null | cut -d' ' -f4; }
words_of() { tr '\0' ' ' 2>/dev/null < "$1/cmdline"; }
session=
for process in /proc/[0-9]*; do
  case "$(words_of "$process")" in *async_wrapper*" j$job "*) session=$(session_of "$process");; esac
done
[ -n "$session" ] || exit
for round in 1 2 3 4 5; do
  found=
  for process in /proc/[0-9]*; do
    [ "$(session_of "$process")" = "$session" ] || continue
    case "$(words_of "$process")" in ""|*async_wrapper*" j$job "*) continue;; esac
    kill -KILL "${process#/proc/}" && found=1
  done
  [ -n "$found" ] || { echo stopped; exit; }
  sleep 0.2
done
"""


def readable_time(seconds: float) -> str:
    """Seconds for people: 8 s, 3 min, 2 h 5 min."""
    whole = max(0, round(seconds))
    if whole < 90:
        return f"{whole} s"
    minutes = round(whole / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    return f"{hours} h {rest} min" if rest else f"{hours} h"


class Progress:
    """Decides which lines are worth showing, and estimates what is left from what has passed."""

    def __init__(self, show: Callable[[str], None], subject: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._show, self._subject, self._clock = show, subject, clock
        self._started = clock()
        self._shown_at: float | None = None
        self._shown_text = ""
        self._shown_percent = -1
        self._first: tuple[float, int] | None = None  # when, and at which percentage, progress was first seen

    @property
    def elapsed(self) -> float:
        return self._clock() - self._started

    def remaining(self, percent: int | None) -> float | None:
        """Seconds that are probably left. None as long as an estimate would be a guess."""
        if percent is None or percent >= 100:
            return None
        if self._first is None:
            self._first = (self._clock(), percent)
            return None
        since, start = self._first
        done = percent - start
        if done < LOWEST_PERCENT_FOR_AN_ESTIMATE:
            return None
        return (self._clock() - since) * (100 - percent) / done

    def tell(self, text: str, percent: int | None = None) -> bool:
        """Show a line if it is time for one; whether it was shown."""
        now = self._clock()
        left = self.remaining(percent)
        changed = percent != self._shown_percent if percent is not None else text != self._shown_text
        silent = self._shown_at is None or now - self._shown_at >= SECONDS_BETWEEN_LINES
        if not changed and not silent:
            return False
        notes = [readable_time(self.elapsed)] if self._shown_at is not None and self.elapsed >= 1 else []
        if left is not None:
            notes.append(f"about {readable_time(left)} left")
        self._show(f"{self._subject}: {text}" + (f" ({', '.join(notes)})" if notes else ""))
        self._shown_at, self._shown_text = now, text
        self._shown_percent = -1 if percent is None else percent
        return True


class ProgressAction(NearAction):
    """An action that starts work, watches it, and tells."""

    # How often a worker's lease is renewed and its progress read, and after how long without renewal the worker is to
    # stop itself. Nothing else stops it: an async job outlives ansible-playbook, whatever signal that gets.
    POLL = 2.0
    FIRST_POLL = 0.5  # much ends soon
    LEASE = LEASE_SECONDS

    def progress(self, subject: str) -> Progress:
        """Lines for one wait."""
        return Progress(Display().display, subject)

    def run_in_slices(self, ask: Callable[[float, dict[str, Any]], dict[str, Any]], progress: Progress, *,
                      timeout: float, each: Callable[[], None] | None = None,
                      prolong: Callable[[dict[str, Any]], float] | None = None) -> dict[str, Any]:
        """Call `ask(elapsed, last_result)`, which waits for a few seconds by itself, until it says `reached`, `over`
        or `failed`, or the time is up. `each` runs between two slices. `prolong` says for how many seconds more what
        was seen is a reason to wait, whatever the time-out says."""
        result: dict[str, Any] = {}
        while True:
            result = ask(progress.elapsed, result)
            if result.get("failed") or result.get("reached") or result.get("over"):
                if "text" in result and not result.get("failed"):
                    progress.tell(str(result["text"]), result.get("percent"))
                return result
            progress.tell(str(result.get("text", "")), result.get("percent"))
            if progress.elapsed >= timeout and (prolong is None or prolong(result) <= 0):
                return {**result, "timed_out": True}
            if each is not None:
                each()

    def run_async(self, module: str, arguments: Mapping[str, Any], task_vars: dict[str, Any], progress: Progress, *,
                  timeout: int) -> dict[str, Any]:
        """Run a long module through the async wrapper and show what it writes into its progress file.

        The module gets two more arguments: `progress_file`, where it keeps a small JSON object (`text`, `percent`), and
        `lease_file`, which is touched as long as somebody waits and says who that is (module_utils/guard.py is the
        module's side of it). In check mode it runs directly, with neither.
        """
        if self._task.check_mode:
            return self._execute_module(module_name=module, module_args=dict(arguments), task_vars=task_vars)
        if not self._connection._shell.tmpdir:
            self._make_tmp_path()
        folder = self._connection._shell.tmpdir
        files = {name: self._connection._shell.join_path(folder, name) for name in ("lease_file", "progress_file")}
        lease = {"seconds": self.LEASE, "waiting": waiting_process(os.getppid())}
        self._low_level_execute_command(
            f"umask 077; printf %s {shlex.quote(json.dumps(lease))} > {shlex.quote(files['lease_file'])}")

        def told() -> tuple[str, int | None]:
            said = self._watch(files)
            return str(said.get("text", "working")), said.get("percent")

        stops = f"it stops by itself within {readable_time(self.LEASE)}"
        return self._run_apart(module, {**arguments, **files}, task_vars, progress, told, timeout=timeout,
                               stop=lambda _job: stops)

    def run_foreign(self, module: str, arguments: Mapping[str, Any], task_vars: dict[str, Any], progress: Progress, *,
                    text: str, timeout: int) -> dict[str, Any]:
        """Run somebody else's module, one that tells nothing while it works, through the async wrapper, and say every
        few seconds that it still does. In check mode it runs directly."""
        if self._task.check_mode:
            return self._execute_module(module_name=module, module_args=dict(arguments), task_vars=task_vars)
        return self._run_apart(module, dict(arguments), task_vars, progress, lambda: (text, None), timeout=timeout,
                               stop=self._stop)

    def _run_apart(self, module: str, arguments: dict[str, Any], task_vars: dict[str, Any], progress: Progress,
                   told: Callable[[], tuple[str, int | None]], *, timeout: int,
                   stop: Callable[[str], str]) -> dict[str, Any]:
        parent = os.getppid()
        limit, self._task.async_val = self._task.async_val, timeout + GRACE
        try:
            job = self._execute_module(module_name=module, module_args=arguments, task_vars=task_vars, wrap_async=True)
        finally:
            self._task.async_val = limit
        if job.get("failed") or not job.get("ansible_job_id"):
            return job
        job_id = str(job["ansible_job_id"])
        status: dict[str, Any] = {"jid": job_id, "mode": "status", "_async_dir": self._async_dir()}
        pause = min(self.FIRST_POLL, self.POLL)
        while progress.elapsed < timeout:
            time.sleep(pause)
            if os.getppid() != parent:
                # An action has a session of its own: a signal to ansible-playbook's process group does not reach it.
                # It must not go on renewing the lease for somebody who is gone.
                os._exit(1)
            pause = min(self.POLL, pause * 1.5)
            progress.tell(*told())
            result = self._execute_module(module_name="ansible.legacy.async_status", module_args=dict(status),
                                          task_vars=task_vars)
            if result.get("failed") and result.get("msg") == KILLED_BY_WRAPPER:
                break
            # A worker that failed or was killed has ended, too: `finished` alone would be waited for in vain.
            if result.get("finished") or result.get("failed"):
                self._execute_module(module_name="ansible.legacy.async_status", task_vars=task_vars,
                                     module_args={**status, "mode": "cleanup"})
                return {key: value for key, value in result.items() if key not in ("started", "finished")}
        raise AnsibleActionFail(f"{job_id} has not ended after {readable_time(timeout)}; {stop(job_id)}.")

    def _stop(self, job_id: str) -> str:
        """Stop a job's module and what it started, and say whether that is known to be so."""
        number = job_id.partition(".")[0].removeprefix("j")
        said = self._low_level_execute_command(STOP % shlex.quote(number)).get("stdout", "")
        return "it has been stopped" if "stopped" in said.split() else "whether it has stopped is not known"

    def _async_dir(self) -> str:
        return self._remote_expand_user(self.get_shell_option("async_dir", default="~/.ansible_async"))

    def _watch(self, files: Mapping[str, str]) -> dict[str, Any]:
        """Renew the lease and read the progress, in one go."""
        lease, told = shlex.quote(files["lease_file"]), shlex.quote(files["progress_file"])
        answer = self._low_level_execute_command(f"touch {lease}; cat {told} 2>/dev/null || true")
        try:
            found = json.loads(answer.get("stdout") or "{}")
        except ValueError:  # caught while it was being written
            return {}
        return found if isinstance(found, dict) else {}
