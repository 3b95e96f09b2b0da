# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Scripts and units that roles leave on an analysis host: they parse, and the lock-down is in them."""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import subprocess
import time
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
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
    evidence.write_text(json.dumps({"volumes": [
        {"device": "/dev/nvme2n1", "by_id": f"{tmp_path}/disk", "partitions": [
            {"device": "/dev/nvme2n1p1", "by_id": f"{tmp_path}/disk-part1"}, {"device": "", "by_id": ""}]},
        {"device": "/dev/nvme9n1", "by_id": f"{tmp_path}/second", "partitions": []}]}))
    (tmp_path / "disk").symlink_to("/dev/nvme1n1")
    (tmp_path / "second").symlink_to("/dev/nvme3n1")
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
                 "--security-opt no-new-privileges", "--volume /evidence:/evidence:ro", "--volume /journal:/journal:ro",
                 "--volume /etc/dfir:/etc/dfir:ro", "--name dfir-analysis --replace"):
        assert part in line
    assert asked.count("--cap-add") == 1
    # p19: the disk is found by its id, whatever number it has by now, and is called inside what the facts call it.
    assert [word for word in asked if word.startswith("--device")] == [
        "--device=/dev/nvme1n1:/dev/nvme2n1:r", "--device=/dev/nvme1n1p1:/dev/nvme2n1p1:r",
        "--device=/dev/nvme3n1:/dev/nvme9n1:r"]
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
                                            ("forensics", "dfir-session")])
def test_scripts_parse(role: str, name: str) -> None:
    subprocess.run(["sh", "-n"], input=render(role, name), text=True, check=True)


def test_packages_install_themselves_without_asking_and_one_by_one_quoted() -> None:
    unit = render("toolbox", "dfir-packages.service", toolbox_packages=["podman"], toolbox_more_packages=["x;reboot"])
    update, install = settings(unit, "ExecStart")
    assert update == "/usr/bin/apt-get update"
    words = shlex.split(install)
    assert words[-2:] == ["podman", "x;reboot"] and {"--yes", "--no-install-recommends"} <= set(words)
    assert settings(unit, "Environment") == ["DEBIAN_FRONTEND=noninteractive"]


class Session:
    """Runs the real dfir-session by each of its names, with a podman and a systemctl that write down what is asked."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder, folder / "home"
        self.units = folder / "timer.d"
        for name in ("analyst", "upload", "results", "work"):
            (self.home / name).mkdir(parents=True)
        script = render("forensics", "dfir-session", forensics_home=str(self.home),
                        forensics_toolbox_command=str(folder / "dfir-toolbox"))
        for path, stand_in in (("/run/dfir", "run"), ("/var/lib/dfir", "lib"), ("/etc/dfir/", "etc/"),
                               ("/etc/systemd/system/dfir-deadman.timer.d", "timer.d")):
            script = script.replace(path, str(folder / stand_in) + ("/" if path.endswith("/") else ""))
        (folder / "etc").mkdir()
        self.write("dfir-session", script)
        self.write("podman", f'#!/bin/sh\nprintf "%s\\n" "$@" > {folder}/asked\necho "$@" >> {folder}/all\n'
                             f'cat {folder}/answer 2>/dev/null; exit $(cat {folder}/code 2>/dev/null || echo 0)\n')
        self.write("systemctl", f'#!/bin/sh\necho "$@" >> {folder}/systemctl.log\n'
                                'case $* in *is-active*service) exit 3 ;; esac\n')
        self.write("dfir-toolbox", f'#!/bin/sh\nprintf "%s\\n" "$@" > {folder}/staged\ncat > {folder}/content\n'
                                   'echo samples/ab.zip\necho samples/ab.json\n')

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)
        (self.folder / name).chmod(0o755)

    def __call__(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        link = self.folder / name
        if not link.exists():
            link.symlink_to("dfir-session")
        return subprocess.run([link, *arguments], check=False, capture_output=True, text=True,
                              env={"PATH": f"{self.folder}:{os.environ['PATH']}"})

    @property
    def asked(self) -> list[str]:
        return (self.folder / "asked").read_text().splitlines()

    def volumes(self) -> list[str]:
        return [word for at, word in enumerate(self.asked) if self.asked[at - 1] == "--volume"]


@pytest.fixture
def session(tmp_path: Path) -> Session:
    if os.geteuid() != 0:
        pytest.skip("the commands become root by sudo")
    return Session(tmp_path)


def test_the_uploader_sees_no_evidence_and_writes_only_its_own_state(session: Session) -> None:
    assert settings(render("forensics", "dfir-upload.service"), "ExecStart") == [
        "/usr/local/libexec/dfir-session upload"]
    assert session("dfir-session", "upload").returncode == 0
    assert not [volume for volume in session.volumes() if volume.startswith(("/evidence", "/dev"))]
    assert [volume for volume in session.volumes() if not volume.endswith(":ro")] == [
        f"{session.home}/upload:/srv/dfir/upload"]
    assert "--device" not in session.asked and session.asked[-1] == "upload"
    assert session.asked[session.asked.index("--name") + 1] == "dfir-upload"


def test_who_gets_artifacts_sees_neither_evidence_nor_the_uploads(session: Session) -> None:
    assert session("dfir-pull", "--list", "*.plaso").returncode == 0
    lib = session.folder / "lib"
    assert session.volumes() == [f"{lib}:{lib}:ro", f"{session.home}/case:/srv/dfir/case"]
    assert session.asked[-3:] == ["pull", "--list", "*.plaso"] and "--cap-add" not in session.asked
    assert lib.stat().st_mode & 0o777 == 0o700


def test_a_file_of_the_analysts_folder_is_pushed_where_it_is(session: Session) -> None:
    note = session.home / "analyst" / "case" / "my notes.txt"
    note.parent.mkdir()
    note.write_text("x")
    assert session("dfir-push", str(note)).returncode == 0
    assert session.asked[-3:] == ["upload", "--push", "case/my notes.txt"]
    assert "--name" not in session.asked  # it must not take the place of a pass that is on its way
    assert not (session.folder / "staged").exists()


@pytest.mark.parametrize("sample", [True, False])
def test_p43_any_other_file_goes_through_the_container_without_a_network(session: Session, sample: bool) -> None:
    file = session.folder / "-rf $(touch hacked); x"
    file.write_bytes(b"malware")
    done = session("dfir-push", *(["--sample"] if sample else []), str(file))
    assert done.returncode == 0, done.stderr
    staged = (session.folder / "staged").read_text().splitlines()
    assert staged == ["--shell", "dfir-forensics", "stage", *(["--sample"] if sample else []), "--name",
                      "-rf $(touch hacked); x"]
    assert (session.folder / "content").read_bytes() == b"malware"
    assert session.asked[-4:] == ["upload", "--push", "samples/ab.zip", "samples/ab.json"]


def test_a_push_goes_on_after_a_file_that_is_not_there_and_says_so(session: Session) -> None:
    note = session.home / "analyst" / "note.txt"
    note.write_text("x")
    done = session("dfir-push", "/nonexistent", str(note))
    assert done.returncode == 1 and "there is no file /nonexistent" in done.stderr
    assert session.asked[-1] == "note.txt"
    for wrong in ([], ["--all"]):
        done = session("dfir-push", *wrong)
        assert done.returncode == 2 and "usage" in done.stderr


def test_the_timer_moves_only_when_everybody_can_know(session: Session) -> None:
    (session.folder / "code").write_text("1")
    done = session("dfir-extend", "2")
    assert done.returncode == 1 and not session.units.exists()
    (session.folder / "code").unlink()
    (session.folder / "answer").write_text("2040-01-01T02:00:00Z\n")
    done = session("dfir-extend", "2")
    assert done.returncode == 0 and done.stdout == "This host ends itself at 2040-01-01 02:00 UTC.\n", done.stderr
    lines = (session.units / "extended.conf").read_text().splitlines()
    assert lines[:3] == ["[Timer]", "OnCalendar=", "OnCalendar=2040-01-01 02:00:00 UTC"]
    up, left = float(Path("/proc/uptime").read_text().split()[0]), 2208996000 - time.time()
    assert abs(int(lines[3].removeprefix("OnBootSec=")) - (up + left + 600)) < 10
    assert (session.folder / "etc" / "extended").read_text() == "2040-01-01T02:00:00Z\n"
    log = (session.folder / "systemctl.log").read_text()
    assert log.index("daemon-reload") < log.index("restart dfir-deadman.timer")


def test_p52_room_is_held_back_and_given_up_on_a_full_disk(session: Session) -> None:
    room = session.home / ".room"

    def free(kib: int) -> None:
        session.write("df", f"#!/bin/sh\necho Avail\necho {kib}\n")
        assert session("dfir-session", "room").returncode == 0

    session.write("fallocate", "#!/bin/sh\ntouch \"$3\"\n")
    free(2_000_000)
    assert room.exists()
    free(500_000)
    assert room.exists()
    free(1000)
    assert not room.exists()
    free(300_000)  # what was given up is not taken back at once
    assert not room.exists()
    unit = render("forensics", "dfir-analysis.service")
    assert settings(unit, "ExecStopPost").index("-/usr/local/libexec/dfir-session room") < len(
        settings(unit, "ExecStopPost")) - 1
    assert settings(render("forensics", "dfir-upload.service"), "ExecStartPre") == [
        "-/usr/local/libexec/dfir-session room"]


def test_the_analysis_ends_before_the_deadline() -> None:
    unit = render("forensics", "dfir-analysis.service")
    [command] = settings(unit, "ExecStart")
    script = shell_of(command).replace("exec ", "echo ").replace("2026-11-20T20:00:00Z", "2040-01-01T00:00:00Z")
    said = subprocess.run(["sh", "-ec", script], capture_output=True, text=True, check=True).stdout.split()
    now = int(subprocess.run(["date", "+%s"], capture_output=True, text=True, check=True).stdout)
    assert abs(int(said[2]) - (2208988800 - 900 - now)) < 5
    assert "ended" in settings(unit, "ConditionPathExists")[0]
    past = shell_of(command).replace("exec ", "echo ").replace("2026-", "2020-")
    said = subprocess.run(["sh", "-ec", past], capture_output=True, text=True, check=True).stdout.split()
    assert said[2] == "1"


@pytest.mark.slow
@pytest.mark.parametrize(("deadline", "extended", "slept"), [
    (-900, None, 0), (905, None, 1), (-3000, 905, 1), (5000, None, None), (905, 5000, None)])
def test_a_session_waits_until_its_time_is_up_and_looks_whether_that_was_moved(
        tmp_path: Path, deadline: int, extended: int | None, slept: int | None) -> None:
    """The wait's own script, with a sleep that ends it when it would go on for long. Times are seconds from now."""
    def moment(seconds: int) -> str:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))

    unit = render("forensics", "dfir-analysis.service", forensics_work="manual", forensics_deadline=moment(deadline))
    [command] = settings(unit, "ExecStart")
    (tmp_path / "sleep").write_text(f"#!/bin/sh\necho $1 >> {tmp_path}/slept\n[ $1 -lt 10 ] || kill $PPID\n"
                                    "exec /bin/sleep $1\n")
    (tmp_path / "sleep").chmod(0o755)
    if extended is not None:
        (tmp_path / "extended").write_text(moment(extended) + "\n")
    script = shell_of(command).replace("/etc/dfir/extended", str(tmp_path / "extended"))
    done = subprocess.run(["sh", "-c", script], check=False, timeout=60,
                          env={"PATH": f"{tmp_path}:{os.environ['PATH']}"})
    times = (tmp_path / "slept").read_text().split() if (tmp_path / "slept").exists() else []
    if slept is None:
        assert times == ["10"] and done.returncode == -15
    else:
        assert bool(times) is bool(slept) and done.returncode == 0


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


def test_after_a_restart_all_volumes_are_protected_before_any_is_mounted() -> None:
    """Evidence and second volumes alike: by then the journal is applied, and is not to be applied again."""

    def part(disk: str, number: int, point: str, options: str, *, mounted: bool = True) -> dict[str, Any]:
        return {"device": f"/dev/{disk}p{number}", "by_id": f"/dev/disk/by-id/{disk}-part{number}", "type": "ext4",
                "mounted": mounted, "mount_point": f"{point}/vol-1/p{number}", "options": options}

    volumes = [
        {"by_id": "/dev/disk/by-id/a", "partitions": [part("a", 1, "/evidence", "ro,noload"),
                                                      part("a", 2, "", "", mounted=False)]},
        {"by_id": "/dev/disk/by-id/b", "partitions": [part("b", 1, "/journal", "ro,noload")]}]
    links = ["a-part1", "a-part2", "b-part1", "a", "b"]
    unit = render("evidence", "dfir-evidence.service", evidence_base="/evidence", evidence_journal_base="/journal",
                  __evidence_facts={"volumes": volumes}, __evidence_whole=["/dev/disk/by-id/a", "/dev/disk/by-id/b"],
                  __evidence_disks=[f"/dev/disk/by-id/{name}" for name in links])
    protect, mount = settings(unit, "ExecStart")
    assert protect == "/sbin/blockdev --setro " + " ".join(f"/dev/disk/by-id/{name}" for name in links)
    said = subprocess.run(
        ["sh", "-c", "mountpoint() { return 1; }; mount() { echo mount \"$@\"; }; " + shell_of(mount)],
        capture_output=True, text=True, check=True).stdout.splitlines()
    assert said == ["mount -t ext4 -o ro,noload /dev/disk/by-id/a-part1 /evidence/vol-1/p1",
                    "mount -t ext4 -o ro,noload /dev/disk/by-id/b-part1 /journal/vol-1/p1"]
    foreign = shell_of(settings(unit, "ExecStartPre")[1])
    for points, refused in (("/evidence/vol-1/p1\n/journal/vol-1/p1", False), ("/boot", True)):
        done = subprocess.run(["sh", "-c", f"findmnt() {{ printf '%s\\n' '{points}'; }}; {foreign}"],
                              capture_output=True, text=True, check=False)
        assert (done.returncode != 0) is refused, done.stdout


def test_nothing_of_podman_comes_before_the_scratch_volume() -> None:
    """Debian's package enables units that run podman at every start; it is told of its storage after the mount."""
    before = re.findall(r"(?m)^Before=(.*)", render("toolbox", "dfir-scratch.service"))
    assert {"podman.service", "podman-restart.service", "podman-auto-update.service"} <= set(" ".join(before).split())
    folders = render("toolbox", "tmpfiles.conf")
    assert re.search(r"(?m)^L\+ /etc/containers/storage.conf .* /etc/dfir/storage.conf$", folders)
    tasks = yaml.safe_load((ROLES / "toolbox" / "tasks" / "scratch.yml").read_text())
    assert ["mount" in task["name"].lower() for task in tasks] == [True, False] and "tmpfiles" in str(tasks[1])
