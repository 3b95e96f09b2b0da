# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's process and its command line, without hosts (they need root and have tests of their own)."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import boto3
import pytest
from aws_kit import eventually
from botocore.config import Config

from lab import sweep
from lab.__main__ import main
from lab.aws.account import ADMIN
from lab.cli_client import health
from lab.config import LabConfig

pytestmark = pytest.mark.slow  # processes of their own


def free_ports() -> int:
    """The first of three free ports in a row."""
    for port in range(21_000 + os.getpid() % 2_000 * 10, 60_000, 10):
        sockets = []
        try:
            sockets = [socket.create_server(("127.0.0.1", port + n)) for n in range(3)]
            return port
        except OSError:
            continue
        finally:
            for sock in sockets:
                sock.close()
    raise RuntimeError("no free ports")


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[LabConfig]:
    settings = LabConfig(state=tmp_path / "state", cache=tmp_path / "cache", port=free_ports())
    yield settings
    sweep.end(sweep.service_pids(settings), first=signal.SIGKILL)


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


def lab(settings: LabConfig, *words: str) -> Done:
    """`python -m lab WORDS`, in this process: only the service itself is one of its own."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setenv("DFIR_LAB_STATE", str(settings.state))
        patch.setenv("DFIR_LAB_CACHE", str(settings.cache))
        patch.setenv("DFIR_LAB_PORT", str(settings.port))
        code = main(list(words))
    return Done(code, out.getvalue(), err.getvalue())


def test_a_lab_lives_from_up_to_down(settings: LabConfig) -> None:
    up = lab(settings, "up", "--no-hosts", "--no-evidence")
    assert up.returncode == 0, up.stderr
    assert f"up at {settings.endpoint}" in up.stdout
    again = lab(settings, "up", "--no-hosts", "--no-evidence")
    assert again.returncode == 0 and "is up already" in again.stdout and len(again.stdout.splitlines()) == 1
    (settings.state / "seeded").unlink()  # as if the first `up` had been interrupted while it filled the account
    again = lab(settings, "up", "--no-hosts", "--no-evidence")
    assert again.returncode == 0 and "bucket" in again.stdout
    ec2 = boto3.client("ec2", region_name="eu-west-1", endpoint_url=settings.endpoint, aws_access_key_id=ADMIN[1],
                       aws_secret_access_key=ADMIN[2], config=Config(proxies={}))
    volume = ec2.create_volume(AvailabilityZone="eu-west-1a", Size=1)["VolumeId"]
    assert volume in lab(settings, "status").stdout
    data = json.loads(lab(settings, "status", "--json").stdout)
    assert [v["id"] for v in data["volumes"]] == [volume] and data["faults"] == []
    assert lab(settings, "seed", "--no-evidence").returncode == 0  # again is fine
    assert lab(settings, "delays", "copy=2", "volume=0.5").stdout.count("copy=2 s") == 1
    wrong = lab(settings, "delays", "copy=soon")
    assert wrong.returncode == 1 and "'soon' is not a number of seconds" in wrong.stderr
    assert lab(settings, "fault", "ec2.no_capacity", "times=2").returncode == 0
    assert "ec2.no_capacity" in lab(settings, "status").stdout
    unknown = lab(settings, "fault", "ec2.no_such_thing")
    assert unknown.returncode == 1 and len(unknown.stderr.splitlines()) == 1
    assert "1 fault(s) cleared" in lab(settings, "fault", "--clear").stdout
    refuses_control_calls_over_tls(settings)
    down = lab(settings, "down")
    assert down.returncode == 0, down.stderr
    assert sweep.leftovers(settings) == [] and not settings.state.exists()
    assert lab(settings, "down").returncode == 0  # again is fine
    status = lab(settings, "status")
    assert status.returncode == 3 and "python -m lab up" in status.stdout


def refuses_control_calls_over_tls(settings: LabConfig) -> None:
    """Hosts reach a listener without control calls; TLS is such a one, too."""
    context = ssl.create_default_context(cafile=str(settings.state / "tls" / "ca.pem"))
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    with pytest.raises(urllib.error.HTTPError) as refused:
        opener.open(f"https://localhost:{settings.tls_port}/_lab/health")
    assert refused.value.code == 403


def test_a_killed_lab_is_cleaned_up_and_started_again(settings: LabConfig) -> None:
    assert lab(settings, "up", "--no-hosts", "--no-seed").returncode == 0
    for pid in sweep.service_pids(settings):
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: health(settings) is None)
    up = lab(settings, "up", "--no-hosts", "--no-seed")
    assert up.returncode == 0 and "removing what an earlier lab left" in up.stdout
    assert lab(settings, "down").returncode == 0
    assert sweep.leftovers(settings) == []


def test_a_stale_pid_file_harms_nobody(settings: LabConfig) -> None:
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        settings.state.mkdir(parents=True)
        settings.pid_file.write_text(f"{bystander.pid}\n")
        assert lab(settings, "down").returncode == 0
        assert bystander.poll() is None and not settings.state.exists()
    finally:
        bystander.kill()
        bystander.wait()


def test_a_port_in_use_is_one_clear_sentence(settings: LabConfig) -> None:
    with socket.create_server(("127.0.0.1", settings.tls_port)):
        up = lab(settings, "up", "--no-hosts")
    assert up.returncode == 1 and up.stdout == ""
    assert up.stderr.strip() == (f"lab: port {settings.tls_port} cannot be used (Address already in use); "
                                 "choose another one with DFIR_LAB_PORT")
    assert not settings.state.exists()
