# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Scripts and units that roles leave on an analysis host: they parse, and the lock-down is in them."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

import jinja2
import pytest
from ansible_collections.dfir.aws.plugins.module_utils.forensics import analyze, cli, plaso_run
from ansible_collections.dfir.aws.plugins.module_utils.forensics.model import Partition

ROLES = Path(__file__).resolve().parents[3] / "roles"
VARIABLES: dict[str, Any] = {
    "ansible_managed": "Ansible managed", "toolbox_image": "registry.example.org/analyst-tools:1",
    "toolbox_home": "/srv/dfir", "toolbox_tmp_size": "512m", "__toolbox_command": "/usr/local/libexec/dfir-toolbox",
    "__toolbox_scratch_device": "/dev/disk/by-id/x", "forensics_home": "/srv/dfir",
    "forensics_image": "registry.example.org/analyst-tools:1", "forensics_work": "automatic",
    "forensics_toolbox_command": "/usr/local/libexec/dfir-toolbox", "forensics_preset": "linux",
    "forensics_scope": "filtered", "forensics_deadline": "2026-11-20T20:00:00Z", "forensics_upload_seconds": 120,
    "__forensics_reserve_seconds": "900",
}


def render(role: str, name: str, **more: Any) -> str:
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True,
                                     keep_trailing_newline=True)
    environment.filters.update(quote=shlex.quote, dirname=lambda path: str(Path(path).parent))
    template = (ROLES / role / "templates" / f"{name}.j2").read_text(encoding="utf-8")
    return environment.from_string(template).render(VARIABLES | more)


def settings(unit: str, key: str) -> list[str]:
    joined = unit.replace("\\\n", "")
    return [line.split("=", 1)[1] for line in joined.splitlines() if line.startswith(f"{key}=")]


def shell_of(command: str) -> str:
    """The script in `/bin/sh -c '…'` of a unit, as systemd hands it on."""
    return shlex.split(command)[2].replace("$$", "$").replace("%%", "%")


@pytest.fixture
def toolbox(tmp_path: Path) -> Any:
    """Runs the real dfir-toolbox with a podman that writes down what it was asked."""
    (tmp_path / "podman").write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/asked\n')
    evidence = tmp_path / "evidence.json"
    evidence.write_text(json.dumps({"device": "/dev/nvme2n1", "by_id": f"{tmp_path}/disk", "partitions": [
        {"device": "/dev/nvme2n1p1", "by_id": f"{tmp_path}/disk-part1"}, {"device": "", "by_id": ""}]}))
    (tmp_path / "disk").symlink_to("/dev/nvme1n1")
    (tmp_path / "disk-part1").symlink_to("/dev/nvme1n1p1")
    script = tmp_path / "dfir-toolbox"
    script.write_text(render("toolbox", "dfir-toolbox").replace("/etc/dfir/evidence.json", str(evidence)))
    for path in (tmp_path / "podman", script):
        path.chmod(0o755)

    def run(*arguments: str) -> list[str]:
        subprocess.run([script, *arguments], check=True, env={"PATH": f"{tmp_path}:{os.environ['PATH']}"})
        return (tmp_path / "asked").read_text().splitlines()

    return run


def test_the_tools_run_locked_down(toolbox: Any) -> None:
    asked = toolbox("--name", "dfir-analysis", "analyze", "--out", "/results")
    line = " ".join(asked)
    for part in ("--network none", "--read-only", "--cap-drop all", "--cap-add DAC_READ_SEARCH", "--pull never",
                 "--security-opt no-new-privileges", "--volume /evidence:/evidence:ro",
                 "--volume /etc/dfir:/etc/dfir:ro", "--name dfir-analysis --replace"):
        assert part in line
    assert asked.count("--cap-add") == 1
    # p19: the disk is found by its id, whatever number it has by now, and is called inside what the facts call it.
    assert [word for word in asked if word.startswith("--device")] == [
        "--device=/dev/nvme1n1:/dev/nvme2n1:r", "--device=/dev/nvme1n1p1:/dev/nvme2n1p1:r"]
    assert asked[-4:] == ["registry.example.org/analyst-tools:1", "analyze", "--out", "/results"]
    assert "/srv/dfir/upload" not in line


def test_validation_and_shell_run_under_the_same_lock_down(toolbox: Any) -> None:
    def flags(asked: list[str]) -> set[str]:
        return {word for word in asked if word.startswith("--") and not word.startswith("--device")}

    validation, shell = toolbox("validate"), toolbox("--shell")
    assert flags(validation) <= flags(shell)
    assert "/srv/dfir/results:/results:ro" in shell
    assert "/srv/dfir/analyst:/srv/dfir/analyst" in shell
    assert shell[shell.index("--network") + 1] == "none"


@pytest.mark.parametrize(("role", "name"), [("toolbox", "dfir-toolbox"), ("toolbox", "dfir-shell"),
                                            ("forensics", "dfir-end")])
def test_scripts_parse(role: str, name: str) -> None:
    subprocess.run(["sh", "-n"], input=render(role, name), text=True, check=True)


def test_packages_install_themselves_without_asking_and_one_by_one_quoted() -> None:
    unit = render("toolbox", "dfir-packages.service", toolbox_packages=["podman", "x;reboot"])
    update, install = settings(unit, "ExecStart")
    assert update == "/usr/bin/apt-get update"
    words = shlex.split(install)
    assert words[-2:] == ["podman", "x;reboot"] and {"--yes", "--no-install-recommends"} <= set(words)
    assert settings(unit, "Environment") == ["DEBIAN_FRONTEND=noninteractive"]


def test_the_uploader_sees_no_evidence_and_writes_only_its_own_state() -> None:
    [command] = settings(render("forensics", "dfir-upload.service"), "ExecStart")
    words = command.split()
    volumes = [words[index + 1] for index, word in enumerate(words) if word == "--volume"]
    assert not [volume for volume in volumes if volume.startswith(("/evidence", "/dev"))]
    assert [volume for volume in volumes if not volume.endswith(":ro")] == ["/srv/dfir/upload:/srv/dfir/upload"]
    assert "--device" not in command
    assert words[-1] == "upload"


@pytest.mark.parametrize("mode", ["automatic", "manual"])
def test_the_analysis_ends_before_the_deadline(mode: str) -> None:
    unit = render("forensics", "dfir-analysis.service", forensics_work=mode)
    [command] = settings(unit, "ExecStart")
    script = shell_of(command).replace("exec ", "echo ").replace("2026-11-20T20:00:00Z", "2040-01-01T00:00:00Z")
    said = subprocess.run(["sh", "-ec", script], capture_output=True, text=True, check=True).stdout.split()
    now = int(subprocess.run(["date", "+%s"], capture_output=True, text=True, check=True).stdout)
    left = int(said[2] if mode == "automatic" else said[1])
    assert abs(left - (2208988800 - 900 - now)) < 5
    assert "ended" in settings(unit, "ConditionPathExists")[0]
    past = shell_of(command).replace("exec ", "echo ").replace("2026-", "2020-")
    said = subprocess.run(["sh", "-ec", past], capture_output=True, text=True, check=True).stdout.split()
    assert (said[2] if mode == "automatic" else said[1]) == "1"


@pytest.mark.parametrize(("scope", "filtered"), [("filtered", True), ("full", False)])
def test_the_scope_goes_all_the_way_to_plaso(scope: str, filtered: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the role's setting over the unit's command line to whether plaso gets a list of paths."""
    unit = render("forensics", "dfir-analysis.service", forensics_work="automatic", forensics_scope=scope)
    words = shell_of(settings(unit, "ExecStart")[0]).split()
    told: list[argparse.Namespace] = []
    monkeypatch.setattr(analyze, "main", lambda options: told.append(options) or 0)
    assert cli.main(words[words.index("analyze"):]) == 0
    disk = Partition(1, "/dev/null", "ext4", "filesystem", 8 << 30, False, None, None, None)
    assert (plaso_run.choose(disk, told[0].preset, told[0].scope)[1] is not None) is filtered


@pytest.mark.parametrize(("mode", "state", "written"), [
    ("manual", "running", "success exited 0\n"),
    ("manual", "stopping", None),
    ("automatic", "running", "success exited 0\n"),
    ("automatic", "stopping", "restart - -\n"),
])
def test_a_restart_of_the_host_is_no_end_of_a_session(mode: str, state: str, written: str | None, tmp_path: Path,
                                                      ) -> None:
    """What the unit leaves behind when it stops, with a systemctl that says how the host is."""
    unit = render("forensics", "dfir-analysis.service", forensics_work=mode, forensics_home=str(tmp_path))
    (tmp_path / "upload").mkdir()
    (tmp_path / "systemctl").write_text(f"#!/bin/sh\necho {state}\n")
    (tmp_path / "systemctl").chmod(0o755)
    subprocess.run(["sh", "-c", shell_of(settings(unit, "ExecStopPost")[-1])], check=True, env={
        "PATH": f"{tmp_path}:{os.environ['PATH']}", "SERVICE_RESULT": "success", "EXIT_CODE": "exited",
        "EXIT_STATUS": "0"})
    ended = tmp_path / "upload" / "ended"
    assert (ended.read_text() if ended.exists() else None) == written
    # A session is started again with the host; an analysis is not.
    assert settings(unit, "WantedBy") == (["multi-user.target"] if mode == "manual" else [])


def test_p26_the_watchdog_ends_the_host_only_after_the_marker(tmp_path: Path) -> None:
    """The watchdog's own script, with systemctl replaced by one that finishes the upload at the third try."""
    [command] = settings(render("forensics", "dfir-watchdog.service"), "ExecStart")
    (tmp_path / "upload").mkdir()
    (tmp_path / "systemctl").write_text(f"""#!/bin/sh
echo "$*" >> {tmp_path}/log
case $1 in
  show) [ -e {tmp_path}/asked ] && echo failed || echo active; touch {tmp_path}/asked ;;
  start) echo x >> {tmp_path}/tries; [ $(wc -l < {tmp_path}/tries) -lt 2 ] && exit 75
         [ $(wc -l < {tmp_path}/tries) -ge 3 ] && touch {tmp_path}/upload/complete; exit 0 ;;
esac
""")
    (tmp_path / "systemctl").chmod(0o755)
    (tmp_path / "sleep").write_text("#!/bin/sh\n")
    (tmp_path / "sleep").chmod(0o755)
    script = shell_of(command).replace("/srv/dfir", str(tmp_path))
    subprocess.run(["sh", "-ec", script], check=True, timeout=20, capture_output=True,
                   env={"PATH": f"{tmp_path}:{os.environ['PATH']}"})
    log = (tmp_path / "log").read_text().splitlines()
    show = "show --property=ActiveState --value dfir-analysis.service"
    assert log == [show, show, *["start dfir-upload.service"] * 3, "poweroff"]
    assert (tmp_path / "upload/ended").read_text() == "unknown\n"
