# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two disks of one instance, and a second volume of the first with its journal applied, through the whole analysis.

As on a host: the module mounts, the filter makes the facts, the analysis reads them. All steps but plaso run, with this
machine's tools. Started by the test in a mount namespace of its own. Needs root.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from stage import CHECKOUT, Devices, module, sh, sha256

FIRST, SECOND, JOURNAL = "vol-0123456789abcdef0", "vol-0fedcba9876543210", "vol-0aaaaaaaaaaaaaaa1"
STEPS = ("findings", "timeline", "yara", "clamav", "deleted")


def play(work: Path) -> dict[str, Any]:
    from ansible_collections.dfir.aws.plugins.filter import evidence
    from ansible_collections.dfir.aws.plugins.module_utils.forensics import analyze, scan
    from ansible_collections.dfir.aws.plugins.module_utils.forensics.model import Artifacts, load_evidence

    from lab.evidence import pair

    share = work / "share"
    shutil.copytree(CHECKOUT / "roles/toolbox/files/image/rules", share / "rules")
    scan.SHARE = share
    first, second = pair.build(work)
    throw_away = work / "throw-away.img"
    sh("cp", "--sparse=always", str(first), str(throw_away))
    before = {path.name: sha256(path) for path in (first, second, throw_away)}
    devices = Devices(work)
    try:
        for order, (image, volume) in enumerate(((first, FIRST), (second, SECOND), (throw_away, JOURNAL)), 1):
            devices.attach(image, volume, order)
        sh("mount", "--bind", str(devices.dev), "/dev")
        mounted = [module(work / "evidence", volume, snapshot_id=f"snap-{number}")
                   for number, volume in enumerate((FIRST, SECOND), 1)]
        facts = evidence.evidence_facts(mounted)
        [wanted] = evidence.journal_wanted(facts, "auto")
        asked = {name: wanted[name] for name in ("journal_of", "snapshot_id", "partitions")}
        applied = module(work / "journal", JOURNAL, role="journal", **asked)
        facts = evidence.evidence_facts([applied], facts)
        (work / "evidence.json").write_text(json.dumps(facts))
        (work / "scratch").mkdir()
        complete = analyze.analyze(analyze.Settings(load_evidence(work / "evidence.json"), Artifacts(work / "out"),
                                                    work / "scratch", steps=STEPS))
    finally:
        for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
            if f" {work}/evidence/" in line or f" {work}/journal/" in line:
                sh("umount", line.split(" ")[4])
        devices.release()
    out = work / "out"
    return {"complete": complete, "before": before, "after": {name: sha256(work / name) for name in before},
            "wanted": wanted, "words": evidence.evidence_in_words(facts),
            "files": sorted(path.name for path in out.iterdir()),
            "outcome": json.loads((work / "scratch/outcome.json").read_text()),
            "summary": json.loads((out / "summary.json").read_text()),
            "changes": json.loads((out / f"{FIRST}p1.journal.changes.json").read_text()),
            "yara": {stem: [hit["path"] for hit in json.loads((out / f"{stem}.yara.json").read_text())["hits"]]
                     for stem in (f"{FIRST}p1", f"{FIRST}p1.journal")}}


if __name__ == "__main__":
    real, sys.stdout = sys.stdout, sys.stderr  # progress is not part of the answer
    real.write(json.dumps(play(Path(sys.argv[1]))))
