# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the steps of an analysis apart from each other: one that fails, hangs or crashes takes nothing else along.

Every step is a process of its own in a session of its own, so that a bound in time ends it with all its tools.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from .model import clean
from .tools import ToolError

HEARTBEAT = 8.0
Say = Callable[[str], None]


class StepError(Exception):
    """A step cannot be done; `code` is one of a few words that may leave the host, the message stays on it."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass
class Step:
    """One piece of work. `work` gets a function for progress lines and returns numbers for the summary."""

    partition: str  # its label, `p1`
    name: str
    work: Callable[[Say], dict[str, Any]]
    timeout: float

    @property
    def label(self) -> str:
        return f"{self.partition}: {self.name}"


@dataclass
class Outcome:
    """How a step ended. `state`: done, failed, timeout, skipped; `code`: why, in one word."""

    partition: str
    name: str
    state: str
    seconds: float = 0.0
    code: str = ""
    detail: str = ""
    counts: dict[str, Any] = field(default_factory=dict)


@dataclass
class _Running:
    step: Step
    process: Any
    pipe: Connection
    started: float
    last: str = "started"
    printed: float = 0.0
    outcome: Outcome | None = None


def _never() -> bool:
    return False


def run_steps(steps: Sequence[Step], say: Say, *, slots: int = 2,
              stopped: Callable[[], bool] = _never) -> list[Outcome]:
    """Run all steps, in their order, as many at once as there are slots; the outcomes in the same order.

    When `stopped` says so, what runs is ended and what waits is not begun.
    """
    waiting = list(steps)
    running: list[_Running] = []
    outcomes: dict[int, Outcome] = {}
    while waiting or running:
        while waiting and stopped():
            step = waiting.pop(0)
            outcomes[id(step)] = Outcome(step.partition, step.name, "failed", code="stopped",
                                         detail="the analysis was stopped before")
        while waiting and len(running) < slots:
            running.append(_start(waiting.pop(0), say))
        for job in list(running):
            _listen(job, say)
            if job.outcome is None and time.monotonic() - job.started > job.step.timeout:
                job.outcome = Outcome(job.step.partition, job.step.name, "timeout", code="timeout",
                                      detail=f"not done after {job.step.timeout:.0f} s")
            if job.outcome is None and stopped():
                job.outcome = Outcome(job.step.partition, job.step.name, "failed", code="stopped",
                                      detail="the analysis was stopped")
            if job.outcome is not None:
                _end(job, say)
                running.remove(job)
                outcomes[id(job.step)] = job.outcome
            elif time.monotonic() - job.printed > HEARTBEAT:
                job.printed = time.monotonic()
                say(f"{job.step.label} {job.last} ({time.monotonic() - job.started:.0f} s)")
        if running:
            multiprocessing.connection.wait([job.pipe for job in running], timeout=0.5)
    return [outcomes[id(step)] for step in steps]


def _start(step: Step, say: Say) -> _Running:
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(step, theirs), name=step.label)
    process.start()
    theirs.close()
    say(f"{step.label} started")
    now = time.monotonic()
    return _Running(step, process, ours, now, printed=now)


def _work(step: Step, pipe: Connection) -> None:
    """The life of a step's process."""
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    latest = [0.0]

    def say(text: str) -> None:
        if time.monotonic() - latest[0] > 1:
            latest[0] = time.monotonic()
            pipe.send(("progress", text))

    try:
        pipe.send(("done", step.work(say)))
    except StepError as error:
        pipe.send(("failed", (error.code, str(error))))
    except ToolError as error:
        pipe.send(("failed", ("tool_error", str(error))))
    except OSError as error:
        code = "no_space" if error.errno == 28 else "os_error"
        pipe.send(("failed", (code, f"{type(error).__name__}: {error}")))
    except Exception as error:  # whatever a hostile file system provokes ends this step only
        pipe.send(("failed", ("error", f"{type(error).__name__}: {error}")))


def _listen(job: _Running, say: Say) -> None:
    """Take in what a step said; its end is an outcome."""
    try:
        while job.outcome is None and job.pipe.poll():
            kind, what = job.pipe.recv()
            if kind == "progress":
                job.last = what
            elif kind == "done":
                job.outcome = Outcome(job.step.partition, job.step.name, "done", counts=what)
            else:
                job.outcome = Outcome(job.step.partition, job.step.name, "failed", code=what[0], detail=clean(what[1]))
    except (EOFError, OSError):
        job.process.join(5)
        job.outcome = Outcome(job.step.partition, job.step.name, "failed", code="crashed",
                              detail=f"its process ended with {job.process.exitcode}")


def _end(job: _Running, say: Say) -> None:
    """Make sure that nothing of a step is left, and report it."""
    if job.outcome is None:
        raise ValueError("a step is ended before it has an outcome")
    if job.outcome.state == "timeout" or job.outcome.code in ("crashed", "stopped"):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(job.process.pid, signal.SIGKILL)
    job.process.join(30)
    if job.process.is_alive():
        job.process.kill()
    job.pipe.close()
    job.outcome.seconds = round(time.monotonic() - job.started, 1)
    tail = f": {job.outcome.detail}" if job.outcome.detail else ""
    numbers = ", ".join(f"{key} {value:,}" for key, value in job.outcome.counts.items() if isinstance(value, int))
    numbers = f"; {numbers}" if numbers else ""
    say(f"{job.step.label} {job.outcome.state} after {job.outcome.seconds:.1f} s{tail}{numbers}")
