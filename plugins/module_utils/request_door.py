# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The front door: names that must not come from outside, and who stands there.

Extra variables outrank facts, registered results, role variables and the inventory. A run that brings one of the
project's own names along could forge a decision, so it is refused by name before anything is read.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from .registry import Refused
from .request_fields import NAMES, Problem

# Roles read inputs and set facts that start with their names; so does the playbook, and the host's variables. A test
# holds this list against the roles and playbooks that there are.
ROLES = ("request", "plan", "snapshot", "analysis_host", "evidence", "toolbox", "analyst", "forensics", "notify",
         "settle", "account_check", "image", "imaging_host", "triage", "compare", "report", "reaper", "analyze_request",
         "check_account", "follow_requests", "image_snapshot", "image_snapshots", "summarize_images",
         "renew_artifact_urls", "reap_resources", "close_request", "show_request", "retention", "expire_snapshots",
         "compare_snapshots", "event", "answer_event", "answer_request", "refuse_event",
         "custody", "verify_case", "close_case", "acquisition", "acquire_instance", "sharing", "share_snapshots",
         "containment", "contain_instance", "release_instance",
         "aap_import", "import_aap", "account_setup", "prepare_account")
OWN = re.compile(rf"(?:{'|'.join(ROLES)})(?:_.*)?|__.*", re.DOTALL)
PLATFORM = re.compile(r"(?:awx|tower)_.*", re.DOTALL)
# What a rulebook's action adds by itself: the event as rules saw it. Nothing here reads it.
RULEBOOK = "ansible_eda"
# A job that was launched so has a person, and the platform's awx_user_name wins over a supplied one. Any other job has
# none, and a supplied one would survive.
LAUNCHED_BY_A_PERSON = frozenset({"manual", "relaunch"})
PERSONS_ONLY = ("Containment and release are started by a person who types the instance's id twice, never by an event, "
                "a schedule or a service.")


def refused_names(extra: Mapping[str, Any], *, on_platform: bool, names: Collection[str] = NAMES) -> list[Problem]:
    """Extra variables that a request must not bring along.

    :param names: the fields of what is asked for.
    """
    problems = []
    for name in sorted(str(key) for key in extra):
        if name in names:
            continue
        sentence = _why_refused(name, on_platform, names)
        if sentence:
            shown = name if re.fullmatch(r"\w{1,80}", name, re.ASCII) else "an extra variable"
            problems.append(Problem(shown, f"{shown} {sentence}"))
    return problems


def _why_refused(name: str, on_platform: bool, names: Collection[str]) -> str:
    if name == RULEBOOK:
        return ""
    if name.startswith("dfir_"):
        return "is an operator setting: it belongs into the inventory and must not come as an extra variable."
    if OWN.fullmatch(name):
        return "is a name of the project's own and must not come as an extra variable."
    if name.startswith("ansible_"):
        return "decides how hosts are reached: it belongs into the inventory and must not come as an extra variable."
    if PLATFORM.fullmatch(name) and not on_platform:
        return "is a name that only the automation platform gives, and this is not one of its jobs."
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.88)
    return f"is not a field of a request; did you mean {near[0]}?" if near else ""


def refuse_events(extra: Mapping[str, Any]) -> None:
    """Refuse what a rulebook started, where only a person may."""
    if RULEBOOK in extra:
        raise Refused(RULEBOOK, PERSONS_ONLY)


def on_platform(extra: Mapping[str, Any], environ: Mapping[str, str]) -> bool:
    """True in a job of the automation platform, which gives the job's id as a variable and in the environment.

    On somebody's own machine both can be made up: there, this is a safeguard and not a barrier.
    """
    job = environ.get("JOB_ID", "")
    return bool(job) and bool(environ.get("AWX_PRIVATE_DATA_DIR")) and str(extra.get("awx_job_id", "")) == job


def platform_user(extra: Mapping[str, Any], *, service_principal: str = "", trust_workflow_user: bool = False) -> str:
    """The platform user on whose behalf a job runs.

    :param service_principal: the name under which jobs without a person run; empty: they are refused.
    :param trust_workflow_user: the operator vouches that workflows are launched by persons only.
    """
    launch = str(extra.get("awx_job_launch_type", ""))
    scheduled = any(name.startswith(("awx_parent_job_schedule", "awx_schedule")) for name in extra)
    person = launch in LAUNCHED_BY_A_PERSON or (launch == "workflow" and trust_workflow_user and not scheduled)
    supplied = sorted(name for name in extra if re.fullmatch(r"(?:awx|tower)_user_\w+", str(name)))
    if person:
        user = extra.get("awx_user_name")
        if not isinstance(user, str) or not user:
            raise Refused("awx_user_name", "awx_user_name is missing: the platform names nobody who launched this job.")
        return str.encode(user).decode()  # a built-in string, whatever subclass it arrived in
    # A workflow's launcher is named by the platform, so the name proves nothing and is not an attack either.
    if supplied and launch != "workflow":
        raise Refused(supplied[0], f"{supplied[0]} came along with a job that no person launched ({launch or 'unknown'}"
                                   " launch): the platform did not give it.")
    if not service_principal:
        raise Refused("awx_user_name", "awx_user_name: no person launched this job, and no service principal is set "
                                       "for such jobs (dfir_aws_service_principal).")
    return service_principal


def sentences(problems: Iterable[Problem]) -> str:
    """All sentences as one message."""
    return " ".join(problem.sentence for problem in problems)
