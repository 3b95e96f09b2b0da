# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a request stands: what went wrong, at which step, what follows from it, and where the time went."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from ansible_collections.dfir.aws.plugins.module_utils.extension import end_of
from ansible_collections.dfir.aws.plugins.module_utils.record import is_gone, is_held

# The steps in their order, and the fact that proves each. The step that failed is the first without its fact.
STEPS = {
    "plan": "plan_result", "snapshot": "snapshot_result", "analysis_host": "analysis_host_result",
    "connection": "analysis_host_reach_result", "packages": "toolbox_begin_result", "evidence": "evidence_result",
    "journal": "evidence_journal_result", "analyst_access": "analyst_access_result", "toolbox": "toolbox_result",
    "forensics": "forensics_result",
}
# A plan begins with a look at the snapshot: without that look it is the snapshot that is wrong.
LOOKED = "snapshot_find_result"
# Without tools that work the host is of no use to anybody. Any other host is left for somebody to look at it: it ends
# by itself at its deadline.
ENDS_THE_HOST = ("packages", "toolbox", "forensics")
# Where the analyst worked by hand, the end of the time is an end like any other.
GOOD_ENDS = {"automatic": ("complete", "ended"), "manual": ("complete", "ended", "timeout")}
KEPT = "What was uploaded is kept. To analyze the snapshot once more, raise 'attempt'."
AGAIN = "Correct the cause and run the same request again: it takes up what exists."
# Artifacts that nobody may rely on when a tool fails. No analysis uses the image format; S3's own checksum proves an
# upload, whatever boto3 says.
MADE_BY: dict[str, tuple[str, ...]] = {
    "plaso": (".plaso", ".activity"), "sleuthkit": (".bodyfile", ".timeline.csv", ".deleted.json", ".deleted.tar.gz"),
    # Everything of what cannot be mounted, such as a logical volume, is read through it.
    "dissect": (".bodyfile", ".timeline.csv", ".deleted.json", ".deleted.tar.gz", ".findings.json", ".yara.json",
                ".clamav.json"),
    "yara": (".yara.json",), "clamav": (".clamav.json",), "ewf-tools": (), "boto3": (),
}
NOT_ENDED = "Its host could not be ended"
NO_CUSTODY = "Its custody ledger is not complete"
FOREIGN_KEY = "shows another SSH key than its console"  # the role analysis_host's words
# How ansible-core begins, and nobody needs to read at three in the morning.
BEGINS = re.compile(r"^(?:Task failed: )?(?:(?:Module|Action) failed: )?(?=.)")
LOOKED_UP = re.compile(r"^The lookup plugin '[^']*' failed: ")
# What aws_wait saw of an instance that will not come back.
DEAD_STATES = ("shutting-down", "terminated", "stopping", "stopped")


def problem(failed: Mapping[str, Any], task: str = "") -> dict[str, Any]:
    """What a rescue remembers of a failed task: its name, the sentence that says why, and whether the host is gone."""
    items = [item for item in failed.get("results") or [] if isinstance(item, Mapping) and item.get("failed")]
    sentences = [str(item.get("msg") or "") for item in items] or [str(failed.get("msg") or "")]
    said = [BEGINS.sub("", " ".join(sentence.split())) for sentence in dict.fromkeys(sentences) if sentence]
    error = str(failed.get("stderr") or "").strip()
    if error and len(said) == 1 and said[0].rstrip(".").endswith("non-zero return code"):  # worded anew in 2.21
        said = [error.splitlines()[-1]]
    message = LOOKED_UP.sub("A look-up failed: ", " ".join(said)) or "The task gave no reason, see the job output"
    return {"task": str(task), "message": message if message.endswith((".", "!", "?")) else f"{message}.",
            "gone": failed.get("state") in DEAD_STATES}


def settlement(controller: Mapping[str, Any], host: Mapping[str, Any], gone: bool = False) -> dict[str, Any]:
    """How a request stands after its work, from the facts of the controller and of the analysis host.

    Success is what every step has proven, never the absence of an error: a host that nobody reached raises none.

    :param gone: AWS says that the host has ended. Whatever it did not answer any more is no failure then: what it left
        in the bucket is looked at, as of any host that has ended.
    """
    at_controller, at_host = controller.get("analyze_request_problem"), host.get("analyze_request_problem")
    launched = controller.get("analysis_host_result") or {}
    ended = bool(launched.get("ended")) or (gone and not at_controller)
    missing = [name for name, fact in STEPS.items() if not (controller.get(fact) or host.get(fact))]
    if ended:
        missing = []
    elif missing[:1] == ["plan"] and not controller.get(LOOKED):
        missing = missing[1:]
    error = at_controller or (at_host if not gone else None)
    if error is None and missing:
        where = f"{launched.get('instance_id') or 'the host'} at {launched.get('address') or 'an unknown address'}"
        error = {"task": "", "message": f"The connection to {where} failed or broke: no step after it was heard of."}
    step = missing[0] if missing else "settle"
    # Said by the host's own tasks: a connection that broke at the same step says nothing about the tools.
    terminate = bool(at_host) and step in ENDS_THE_HOST
    return {
        "failed": bool(error), "ended": ended, "step": step if error else "", "terminate": terminate,
        "task": error["task"] if error else "", "reason": error["message"] if error else "",
        "next_step": _next_step(step, terminate, launched, error) if error else "",
        "outcome": "failed" if error else "",
        # Closed is what no later run of the same attempt could bring any further.
        "closed": terminate,
    }


def follow_up(record: Mapping[str, Any], holder: str, region: str) -> dict[str, Any]:
    """What a record tells to somebody who brings the request to its end without having begun it.

    :param holder: who does that.
    :param region: the region of the record's bucket.
    :return: the request, the result of each step by its name, how it stands, and whether there is anything to follow:
        not where no host was set to work, or while somebody else is at it.
    """
    results: dict[str, Any] = {}
    for step in record.get("steps") or []:
        if step.get("outcome") == "ok":
            results[str(step["name"])] = dict(step.get("details") or {})
    request = dict(record["request"])
    request["record"] = {"bucket": request["artifact_bucket"], "region": region, "request_id": record["request_id"],
                         "holder": holder}
    return {"request": request, "results": {name: results.get(name, {}) for name in STEPS},
            "followed": (bool(results.get("analysis_host", {}).get("instance_id")) and "forensics" in results
                         and not is_held(record, holder, datetime.now(timezone.utc), is_gone)),
            "standing": settlement({"analysis_host_result": {"ended": True}}, {})}


def is_due(look: Mapping[str, Any], deadline: str, grace: float) -> bool:
    """Whether a request can be brought to its end: its results or its host's end were seen, or its time is over, with
    the extension that the look saw."""
    end = end_of(deadline, str(look.get("extended_until") or ""))
    return look.get("outcome") in ("complete", "ended") or (bool(deadline) and _left(end) + float(grace) <= 0)


def interrupted(error: Mapping[str, str], settled: Mapping[str, Any]) -> dict[str, Any]:
    """How a request stands whose work went well and whose settlement did not."""
    return {**settled, "failed": True, "step": "settle", "task": error["task"], "reason": error["message"],
            "next_step": AGAIN, "outcome": "failed", "terminate": False, "closed": False}


def worsened(error: Mapping[str, str], settled: Mapping[str, Any], what: str = "Its record could not be written",
             ) -> dict[str, Any]:
    """How a request stands whose settlement itself met an obstacle: never well, and never closed.

    What went wrong before stays what went wrong.
    """
    if settled.get("failed"):
        reason = f"{settled['reason']} {what}: {error['message']}"
        # What was to be done about the host, and told as done, was not done.
        lives = ("The host still exists, and ends itself at its deadline. Remove it with the commands above, correct "
                 "the cause and raise 'attempt'.") if what == NOT_ENDED else settled["next_step"]
        return {**settled, "reason": reason, "closed": False, "next_step": lives}
    return interrupted({**error, "message": f"{what}: {error['message']}"}, settled)


def custody_settled(settled: Mapping[str, Any], custody: Mapping[str, Any]) -> dict[str, Any]:
    """How a request stands, given how its custody ledger does: one that could not be written is a failure, and the same
    request run again writes it. What cannot be written since the case is closed stays unwritten."""
    if not custody.get("problem") or NO_CUSTODY in str(settled.get("reason")):
        return dict(settled)
    worse = worsened({"task": "", "message": str(custody["problem"])}, settled, NO_CUSTODY)
    return {**worse, "closed": settled.get("closed", False)} if custody.get("closed") else worse


def _next_step(step: str, terminate: bool, launched: Mapping[str, Any], error: Mapping[str, Any]) -> str:
    if error.get("gone"):
        return ("The host is gone. Run the same request again to have what is left removed, and raise 'attempt' to "
                "analyze the snapshot once more.")
    if step == "journal":
        return f"{AGAIN} With 'journal: ignore' it goes on without a second volume."
    if terminate:
        return "The host has been ended, since its tools do not work. Correct the cause and raise 'attempt'."
    if step == "connection":
        address, deadline = launched.get("address") or "the host", launched.get("deadline") or "its time limit"
        if FOREIGN_KEY in error["message"]:
            return (f"Do not log in to {address}. Compare the instance's console with what answers there, and find out "
                    f"who has that address. The host ends itself at {deadline}; raise 'attempt' for another one.")
        return (f"Check that port 22 of {address} can be reached from the controller (dfir_aws_controller_cidrs). "
                f"{AGAIN} The host ends itself at {deadline}.")
    return AGAIN


def outcome(waited: Mapping[str, Any], settled: Mapping[str, Any], request: Mapping[str, Any],
            left: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """How a request ended, from what the wait for its artifacts brought."""
    if settled.get("failed"):
        return dict(settled)
    marker = waited.get("marker") if isinstance(waited.get("marker"), Mapping) else None
    how = str((marker or {}).get("outcome") or "incomplete")
    if how not in ("complete", "ended", "timeout"):
        how = "incomplete"
    reasons = []
    if marker is None:
        why = {"ended": "the host has ended", "timeout": "its time is long over"}.get(str(waited.get("outcome")), "")
        reasons.append("The completion marker (complete.json) never came" + (f", although {why}" if why else "") + ".")
    elif how not in GOOD_ENDS.get(str(request.get("mode")), ()):
        missing = [str(name) for name in (marker.get("missing") or [])][:20]
        if missing or not retraction(waited)["retracted"]:
            reasons.append(_not_well(how, marker, missing))
    taken_back = retraction(waited)
    if taken_back["retracted"]:
        how = "incomplete" if how == "complete" else how
        tools, results = (", ".join(taken_back[key]) for key in ("tools", "results"))
        reasons.append(f"After the work {tools} failed on a known sample, although good before it: "
                       f"{results or 'no artifact'} must not be relied on.")
    if left:
        reasons.append(f"{len(left)} things could not be removed: {', '.join(str(item['id']) for item in left)}.")
    failed = bool(reasons)
    return {**settled, "failed": failed, "outcome": how, "step": "results" if failed else "", "task": "",
            "reason": " ".join(reasons), "next_step": KEPT, "closed": not left}


def retraction(waited: Mapping[str, Any]) -> dict[str, Any]:
    """What is to be taken back when tools failed on their known samples after the work, although they had been good
    before it: the tools, and the artifacts that they made.

    :param waited: what the wait for the artifacts brought. Its marker was written on the host, where malware may have
        run: a name that is none of our tools' counts as a tool that nobody knows, and then nothing is to be relied on.
    """
    marker = waited.get("marker")
    proven = marker.get("validation") if isinstance(marker, Mapping) else None
    failed = proven.get("failed") if isinstance(proven, Mapping) else None
    said = failed if isinstance(failed, list) else []
    names = sorted({str(name) if name in MADE_BY else "unknown" for name in said})
    if "unknown" in names:
        return {"tools": names, "results": ["all artifacts"], "retracted": True}
    results = sorted({name for tool in names for name in MADE_BY[tool]})
    return {"tools": names, "results": results, "retracted": bool(names)}


def _not_well(how: str, marker: Mapping[str, Any], missing: Sequence[str]) -> str:
    unsaved = (marker.get("counts") or {}).get("analyst_unsaved") if isinstance(marker.get("counts"), Mapping) else 0
    if unsaved and list(missing) == ["analyst_files"]:
        return f"{unsaved} files of the analyst's folder could not be saved before the host ended."
    return f"The analysis ended as '{how}'" + (f", without {', '.join(missing)}." if missing else ".")


def removed(existed: Sequence[Mapping[str, Any]], left: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """What existed and is gone."""
    still = {str(item["id"]) for item in left}
    return [{"type": str(item["type"]), "id": str(item["id"])} for item in existed if str(item["id"]) not in still]


def ended_now(result: Mapping[str, Any]) -> dict[str, Any]:
    """A role's result with the moment at which the role was done."""
    return {**result, "ended_at": _now()}


def timed_steps(facts: Mapping[str, Any], since: str) -> list[dict[str, Any]]:
    """Steps that ended, as M(dfir.aws.request_record) takes them: each from the end of the one before it to its own."""
    steps: list[dict[str, Any]] = []
    for name, fact in STEPS.items():
        result = facts.get(fact) or {}
        if result.get("ended_at"):
            steps.append({"name": name, "started_at": steps[-1]["ended_at"] if steps else since,
                          "ended_at": result["ended_at"],
                          "details": {key: value for key, value in result.items() if key != "ended_at"}})
    return steps


def last_steps(before: Sequence[Mapping[str, Any]], settled: Mapping[str, Any], waited: Mapping[str, Any],
               told: Mapping[str, Any] | None = None, report: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """The steps of the settlement itself after those `before` it, and the step that failed with its reason.

    :param told: the mail that told of the failure, as role `notify` handed it on: its text is kept, sent or not.
    :param report: what the role `report` handed on.
    """
    steps: list[dict[str, Any]] = []
    if waited.get("ended_at"):
        since = before[-1]["ended_at"] if before else waited["ended_at"]
        details = {"outcome": settled.get("outcome"), "files": len(waited.get("objects") or [])}
        if artifacts := _known_artifacts(waited, report or {}):
            details["artifacts"] = artifacts
        if waited.get("extended_until"):
            details["extended_until"] = str(waited["extended_until"])
        if (taken_back := retraction(waited))["retracted"]:
            details["retracted"] = {key: taken_back[key] for key in ("tools", "results")}
        steps.append({"name": "results", "started_at": since, "ended_at": waited["ended_at"], "details": details})
        steps.append({"name": "clean_up", "started_at": waited["ended_at"], "ended_at": _now(), "details": {}})
    if settled.get("failed"):
        told = told or {}
        mail = {"mail_sent": bool(told["sent"]), "mail_error": str(told["error"]), "mail_subject": str(told["subject"]),
                "mail_text": str(told["text"])} if told.get("text") else {}
        steps.append({"name": settled["step"], "outcome": "failed", "details": {"reason": settled["reason"], **mail}})
    return steps


def _known_artifacts(waited: Mapping[str, Any], report: Mapping[str, Any]) -> list[dict[str, str]]:
    """Artifacts whose SHA-256 is known to the controller, which may read few of them. `sha256sums.txt` has those of all
    others, and the marker has its own."""
    found = [{"name": str(name), "sha256": str(sha256), "said_by": "controller"}
             for name, sha256 in sorted((waited.get("hashes") or {}).items()) if sha256]
    sums = (waited.get("marker") or {}).get("sha256sums_sha256")
    if isinstance(sums, str) and re.fullmatch(r"[0-9a-f]{64}", sums):
        found.append({"name": "sha256sums.txt", "sha256": sums, "said_by": "analysis host"})
    if report.get("sha256"):
        found.append({"name": "report.html", "sha256": str(report["sha256"]), "said_by": "controller"})
    return found


def closing_words(request: Mapping[str, Any], settled: Mapping[str, Any], waited: Mapping[str, Any],
                  host: Mapping[str, Any], custody: Mapping[str, Any] | None = None) -> list[str]:
    """What the job says last of a request that went well: how it stands, where to look, and how its ledger ends."""
    return [*_closing_words(request, settled, waited, host), *([str(custody["line"])] if custody else [])]


def _closing_words(request: Mapping[str, Any], settled: Mapping[str, Any], waited: Mapping[str, Any],
                   host: Mapping[str, Any]) -> list[str]:
    place = f"s3://{request['artifact_bucket']}/{request['artifact_prefix']}"
    if len(request.get("snapshots") or []) > 1:
        place += ", artifacts of each volume in the folder of its snapshot"
    if not settled.get("closed"):
        return [f"Request {request['request_id']}: the host {host.get('instance_id')} is at work until "
                f"{host.get('deadline')} at the latest. The ready mail says how to connect.",
                f"Results: {place}", "Run the same request again to wait for its end."]
    counts = (waited.get("marker") or {}).get("counts") or {}
    severities = [f"{counts[key]} {key.removeprefix('findings_')}"
                  for key in ("findings_critical", "findings_high", "findings_medium") if counts.get(key)]
    found = f", {counts['findings']} findings" if "findings" in counts else ""
    return [f"Request {request['request_id']}: {settled.get('outcome')}{found}"
            + (f" ({', '.join(severities)})" if severities else "") + ".", f"Results: {place}"]


def seconds_until(moment: str, more: float = 0) -> int:
    """Seconds from now to a moment in UTC and `more`; never less than one."""
    return max(1, round(_left(moment) + float(more)))


def _left(moment: str) -> float:
    at = datetime.strptime(moment, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
    return (at - datetime.now(timezone.utc)).total_seconds()


def _now() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


class FilterModule:
    """Filters of the playbooks."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Names as playbooks use them, below `dfir.aws.`."""
        named = (problem, settlement, follow_up, is_due, end_of, interrupted, worsened, custody_settled, outcome,
                 removed, ended_now, timed_steps, last_steps, closing_words, seconds_until, retraction)
        return {function.__name__: function for function in named}
