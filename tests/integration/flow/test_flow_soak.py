# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controllers and hosts that are killed at random moments: whatever is hit, the request comes to an end, and nothing of
it is left that was not told.

A moment is a number of tasks, not of seconds, so that a seed means the same on every machine.
"""

from __future__ import annotations

import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.integration.flow.flow_kit import AWAY, Play, Request, Site, client, instances, named, together
from tests.integration.flow.host_kit import ended
from tests.integration.flow.test_flow_host import EACH_ONCE

TASKS = 100  # about as many as a run has before its mail
STRIKES = 3  # one in the shortened form, a single request


@pytest.mark.cell("results", "controller or host are killed at random moments")
@together(minutes=5)
def test_controllers_and_hosts_that_are_killed_at_random_moments(site: Site) -> None:
    """Bounded: so many requests of so many strikes each, two at a time."""
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(disturbed, site, number) for number in range(site.rounds)]:
            done.result()


def disturbed(site: Site, number: int) -> None:
    """One request, struck, and brought to its end by whoever would do it: the same request again."""
    chance = random.Random(f"{site.seed}/{number}")
    request = site.request(aws_snapshot_id=site.source(), aws_snapshot_region=AWAY)
    for _strike in range(STRIKES if site.rounds > 1 else 1):
        victim, moment = chance.choice(("controller", "controller", "host")), chance.randint(1, TASKS)
        told = f"seed {site.seed}, request {number}: the {victim} at task {moment} (attempt {attempt(request)})"
        print(told, flush=True)
        play = request.start()
        play.wait(lambda play=play, moment=moment: play.text.count("\nTASK [") >= moment)
        strike(request, play, victim)
        holds(request, told)
        if request.record.get("state") == "finished":
            request = site.request(**{**request.fields, "attempt": attempt(request) + 1})
    undisturbed(site, request)


def attempt(request: Request) -> int:
    return int(request.fields.get("attempt", 1))


def strike(request: Request, play: Play, victim: str) -> None:
    """Kill the controller, or the host where there is one: then the run is left to find out."""
    hosts = instances(request.lab, request.id) if victim == "host" and request.record else []
    if play.code is None and not hosts:
        play.kill()
        return
    if hosts:
        client(request.lab, "ec2").terminate_instances(InstanceIds=[hosts[0]["InstanceId"]])
    play.end()
    assert "Traceback" not in play.text and "unexpected" not in play.text.lower(), play.text[-5000:]
    kind = request.mails[-1].subject.split()[1] if request.mails else ""
    # Struck when the mail was all that was missing, the next run tells.
    assert play.code not in (0, None) or kind == "ready:", play.text[-3000:]
    if kind == "FAILED":
        things = {(thing.kind, thing.id) for thing in named(request.mails[-1]) if thing.kind != "role-in-profile"}
        assert {kind for kind, _id in things ^ request.exists()} <= {"instance", "volume"}, "those end by themselves"


def holds(request: Request, told: str) -> None:
    """Nothing was made twice, whatever happened."""
    if not request.record:
        return
    exists = Counter(kind for kind, _id in request.exists()) - Counter({"network-interface": 1})
    assert exists <= Counter(EACH_ONCE), (told, exists)
    assert len(instances(request.lab, request.id)) <= 1, told


def undisturbed(site: Site, request: Request) -> None:
    """An undisturbed run, and the end of the session; where the host was struck, of another attempt."""
    play = request.run()
    if play.code != 0:
        assert "raise 'attempt'" in play.flat and request.exists() == set(), play.text[-4000:]
        request = site.request(**{**request.fields, "attempt": attempt(request) + 1})
        play = request.run()
    assert play.code == 0, play.text[-4000:]
    ended(request)
