# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Analyze all partitions of the evidence volumes, and of second volumes on which their journals were applied.

How the end is told: every artifact appears in the results folder when it is complete. After the last one come
`summary.json` and `sha256sums.txt`, and then, in the work folder, `outcome.json`, which says `{outcome: complete |
incomplete, missing, counts}`. It is no artifact but a word to the uploader on the same host: when the analysis has
ended, the uploader uploads what is left, makes the marker `complete.json` from it, and writes that as the last object.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import report_data
from .changes import compare
from .console import tell
from .logical import with_logical_volumes
from .model import Artifacts, Evidence, EvidenceError, Host, Partition, load_evidence
from .plaso_run import DEVICE_TYPES as PLASO_READABLE
from .raw_tree import READABLE as RAW_READABLE
from .steps import Outcome, Say, Step, StepError, run_steps
from .summary import summarize
from .times import utc_now
from .validate import validate

STEP_ORDER = ("findings", "timeline", "yara", "clamav", "deleted", "plaso")
NEEDS_MOUNT = ("findings", "yara", "clamav")


@dataclass
class Settings:
    """What an analysis is told."""

    host: Host
    artifacts: Artifacts
    work: Path
    preset: str = "auto"
    scope: str = "filtered"
    extra_rules: Path | None = None
    steps: tuple[str, ...] = STEP_ORDER
    step_timeout: float = 0
    # Runs every tool on its sample once more, after the work: what has changed since the host was made ready?
    prove: Callable[[], dict[str, Any]] | None = None


def main(options: argparse.Namespace) -> int:
    """The subcommand `analyze`: 0 when every step of every partition was done, 3 when some were not, 2 on bad input."""
    try:
        host = load_evidence(options.evidence)
        steps = tuple((options.steps or ",".join(STEP_ORDER)).split(","))
        unknown = [step for step in steps if step not in STEP_ORDER]
        if unknown:
            raise EvidenceError(f"--steps: {', '.join(unknown)} is no step; there are {', '.join(STEP_ORDER)}")
        artifacts = Artifacts(options.out)
        options.work.mkdir(parents=True, exist_ok=True)
    except (EvidenceError, OSError) as error:
        tell(f"error: {error}", error=True)
        return 2
    # Every tool's temporary files belong on the scratch volume, not into the container's small /tmp.
    os.environ["TMPDIR"] = str(options.work)
    settings = Settings(host, artifacts, options.work, options.preset, options.scope, options.extra_rules, steps,
                        options.step_timeout, prove=validate)
    return 0 if analyze(settings) else 3


def analyze(settings: Settings) -> bool:
    """Run everything and write the closing files; whether nothing is missing. Main thread only (it takes signals)."""
    log = settings.work / "analysis.log"
    log.unlink(missing_ok=True)

    def say(text: str) -> None:
        tell(text)
        with log.open("a", encoding="utf-8") as stream:
            stream.write(f"{utc_now()} {text}\n")

    started, clock = utc_now(), time.monotonic()
    (settings.work / "outcome.json").unlink(missing_ok=True)
    settings.host = look_into_lvm(settings.host, settings.artifacts)
    steps, skipped = plan(settings)
    for outcome in skipped:
        say(f"{outcome.partition}: {outcome.name} skipped: {outcome.detail}")
    stop: list[int] = []
    # Told to stop (the deadline is near), it still closes its books; as a container's first process it must ask for
    # the signal, or would never get it.
    before = {number: signal.signal(number, lambda got, _unused: stop.append(got))
              for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        outcomes = [*run_steps(steps, say, stopped=lambda: bool(stop)), *skipped]
        validation = prove_again(None if stop else settings.prove, say)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    settings.artifacts.sweep()
    outcomes += compare(settings.host, settings.artifacts, say)
    seconds = round(time.monotonic() - clock, 1)
    missing = sorted(f"{outcome.partition}.{outcome.name}" for outcome in outcomes
                     if outcome.state in ("failed", "timeout"))
    lacking = [*missing, *(f"proof of {tool}" for tool in validation["failed"])]
    say(f"analysis ended after {seconds:.0f} s: {'complete' if not lacking else 'missing ' + ', '.join(lacking)}")
    summary = summarize(settings.host, settings.artifacts, outcomes, started, seconds,
                        {"preset": settings.preset if settings.preset.isalnum() else "custom",
                         "scope": settings.scope}, validation)
    settings.artifacts.write_json(report_data.NAME, _report(settings, outcomes, summary, say))
    settings.artifacts.adopt(log, "analysis.log")
    settings.artifacts.write_json("summary.json", summary)
    settings.artifacts.write_sums()
    settings.artifacts.forget_sums()
    partial = settings.work / ".partial-outcome.json"
    good = not missing and not validation["failed"]
    partial.write_text(json.dumps({"outcome": "complete" if good else "incomplete", "missing": missing,
                                   "counts": summary["totals"], "validation": validation}, indent=1) + "\n",
                       encoding="utf-8")
    partial.rename(settings.work / "outcome.json")
    return good


def _report(settings: Settings, outcomes: list[Outcome], summary: dict[str, Any], say: Say) -> dict[str, Any]:
    """The data of the report. It adds nothing to the results, so one that cannot be made takes none of them along."""
    try:
        return report_data.report_data(settings.host, settings.artifacts, outcomes, summary)
    except Exception as error:  # an artifact that is not what it should be
        problem = f"the report holds no results, they could not be put together: {type(error).__name__}: {error}"
        say(problem)
        return {"schema": report_data.SCHEMA, "kind": "analysis", "made": summary["ended"], "warnings": [problem]}


def look_into_lvm(host: Host, artifacts: Artifacts) -> Host:
    """The same with logical volumes beside the partitions that they lie on; what LVM says there becomes an artifact."""
    volumes = []
    for volume in host.volumes:
        reports: dict[int, dict[str, Any]] = {}
        if not volume.journal_of:
            volume, reports = with_logical_volumes(volume)
        for partition in volume.partitions:
            if partition.logical is None and partition.number in reports:
                artifacts.write_json(f"{volume.stem(partition)}.lvm.json", reports[partition.number])
        volumes.append(volume)
    return Host(tuple(volumes), host.sets)


def prove_again(prove: Callable[[], dict[str, Any]] | None, say: Say) -> dict[str, Any]:
    """Whether the tools still say what is known to be true: `{ran, failed: [tool], seconds}`.

    A tool that was good when the host was made ready and is not now has made results that nobody may rely on. It is not
    asked when the time is up: the books have to be closed then.
    """
    if prove is None:
        return {"ran": False, "failed": [], "seconds": 0}
    clock = time.monotonic()
    tools = prove()["tools"]
    for tool in tools:
        if not tool["ok"]:
            say(f"validation: {tool['name']} fails on a known sample now: {tool['detail']}")
    seconds = round(time.monotonic() - clock, 1)
    failed = sorted(str(tool["name"]) for tool in tools if not tool["ok"])
    say(f"validation: {len(tools) - len(failed)} of {len(tools)} tools proven once more in {seconds:.0f} s")
    return {"ran": True, "failed": failed, "seconds": seconds}


def plan(settings: Settings) -> tuple[list[Step], list[Outcome]]:
    """The steps in the order in which they start, and those that cannot be run with the reason.

    All quick steps come before plaso, so that most of what is to be known is there within a minute.
    """
    steps: list[Step] = []
    skipped: list[Outcome] = []
    usable: list[tuple[Evidence, Partition, tuple[str, ...]]] = []
    for volume, partition in settings.host.pairs():
        label = settings.host.label(volume, partition)
        wanted, left_out = steps_of(volume, partition, label)
        skipped += left_out
        if wanted:
            usable.append((volume, partition, wanted))
    # Evidence before what shows its journals, the largest first.
    usable.sort(key=lambda item: (bool(item[0].journal_of), -item[1].size_bytes))
    for name in STEP_ORDER:
        for volume, partition, wanted in usable:
            if name not in settings.steps or name not in wanted:
                continue
            label = settings.host.label(volume, partition)
            if name in NEEDS_MOUNT and not (partition.mounted or partition.logical or partition.type in RAW_READABLE):
                skipped.append(Outcome(label, name, "failed", code="not_mounted",
                                       detail="the partition could not be mounted"))
                continue
            workers = 2 if len(usable) == 1 else 1
            steps.append(Step(label, name, _work(settings, volume, partition, name, workers),
                              settings.step_timeout or bound(name, partition)))
    return steps, skipped


def steps_of(volume: Evidence, partition: Partition, label: str) -> tuple[tuple[str, ...], list[Outcome]]:
    """Which steps a partition or logical volume gets, and what to say of those that it does not get."""
    if volume.journal_of and not partition.mounted:
        # Nothing else than the evidence would be seen. Said, and not missing: there is nothing to be had from it.
        return (), [Outcome(label, "all", "skipped", code="journal_not_applied",
                            detail=partition.reason or "the journal could not be applied")]
    if partition.is_file_system:
        if partition.logical is None or (partition.logical.runs and partition.type in PLASO_READABLE):
            return STEP_ORDER, []
        return tuple(name for name in STEP_ORDER if name != "plaso"), [
            Outcome(label, "plaso", "skipped", code="not_supported",
                    detail="plaso reads ext, XFS and NTFS in logical volumes of linear pieces")]
    code, detail = partition.kind, f"{partition.kind}, not a file system"
    if partition.logical is not None and (partition.logical.problem or partition.kind == "unknown"):
        code, detail = partition.logical.problem or "unknown", partition.reason or detail
    elif partition.kind == "lvm" and partition.logical is None:
        inside = sum(1 for one in volume.partitions if one.logical and one.number == partition.number)
        detail = f"lvm, a physical volume; {inside} logical volumes are looked at by themselves"
    return (), [Outcome(label, "all", "skipped", code=code, detail=detail)]


def bound(name: str, partition: Partition) -> float:
    """Seconds after which a step is given up: generous, there only so that a hostile file system cannot hold it."""
    gib = partition.size_bytes / (1 << 30)
    return {"plaso": 3600 + 600 * gib}.get(name, 1200 + 120 * gib)


def _work(settings: Settings, volume: Evidence, partition: Partition, name: str, workers: int,
          ) -> Callable[[Say], dict[str, Any]]:
    """What a step's process does. Readers are imported there: a missing one fails its own step only."""
    stem = volume.stem(partition)
    artifacts, work = settings.artifacts, settings.work / f"{settings.host.label(volume, partition)}-{name}"

    def run(say: Say) -> dict[str, Any]:
        work.mkdir(parents=True, exist_ok=True)
        try:
            if name == "timeline":
                from .timeline import make_timeline

                return make_timeline(partition, artifacts, stem, work, say)
            if name == "findings":
                from .findings import find_all

                return find_all(partition, artifacts, stem, work, say)
            if name == "yara":
                from .scan import scan_yara

                return scan_yara(partition, artifacts, stem, work, settings.extra_rules, say)
            if name == "clamav":
                from .scan import scan_clamav

                return scan_clamav(partition, artifacts, stem, work, say)
            if name == "deleted":
                from .deleted import recover_deleted

                return recover_deleted(partition, artifacts, stem, say)
            if name == "plaso":
                from .plaso_run import run_plaso

                return run_plaso(partition, artifacts, stem, work, preset=settings.preset, scope=settings.scope,
                                 workers=workers, say=say)
            raise StepError("unknown_step", f"no step is called {name}")
        finally:
            shutil.rmtree(work, ignore_errors=True)

    return run
