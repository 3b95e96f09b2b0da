# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The content of `execution-environment.yml` as a root file system, and programs in an unprivileged container of it.

Its own base image comes from a registry, and the collections from Galaxy. Here both come from where this machine gets
everything: the lab's smallest Debian stands in for the base, and Python packages bring the collections. All else is
read from the very files that `ansible-builder` reads, and nothing is put in besides: what a playbook needs and the
files do not name is missing here, too.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from lab.content import apt
from lab.content.cache import ensure, recipe_key
from lab.content.container_base import ensure_container_base
from lab.content.wheels import GLIBC, MACHINES
from tests.kit import CHECKOUT

RECIPE = "1"  # raise it when the recipe below changes
PROJECT = "/runner/project"  # where the platform's jobs have it
LAB = "/runner/lab"
HOME = "/home/runner"
UID = 1000  # of execution-environment.yml


def ensure_environment(cache: Path) -> Path:
    """The root file system; built when the cache has none of these files' content."""
    named = yaml.safe_load((CHECKOUT / "execution-environment.yml").read_text(encoding="utf-8"))
    needs = named["dependencies"]
    python, collections, system = (CHECKOUT / needs[name] for name in ("python", "galaxy", "system"))
    base = ensure_container_base(cache)
    interpreter = needs["python_interpreter"]
    key = recipe_key(RECIPE, base.parent.name, repr(sorted(needs.items())), str(named["options"]["user"]),
                     *(path.read_bytes() for path in (python, collections, system)))

    def build(folder: Path) -> None:
        root = folder / "rootfs"
        root.mkdir()
        apt.run(["tar", "--extract", "--file", str(base), "--directory", str(root), "--numeric-owner", "--xattrs"])
        apt.install(root, [interpreter["package_system"]])
        lent = root / "var/tmp/lent"  # there while it is built, and gone afterwards
        try:
            _download(lent / "pip", ["pip"])
            _download(lent / "bindep", ["bindep"])
            for path in (python, collections, system):
                shutil.copy(path, lent)
            run_python = f"{interpreter['python_path']} -B"
            run_pip = f"{run_python} $(echo /var/tmp/lent/pip/pip-*.whl)/pip"
            offline = "install --quiet --no-index --root-user-action ignore"
            apt.in_chroot(root, f"{run_pip} {offline} --target /var/tmp/lent/tool "
                                "--find-links /var/tmp/lent/bindep bindep")
            # bindep says by failing that something is missing, which at this point it is.
            missing = apt.in_chroot(root, f"PYTHONPATH=/var/tmp/lent/tool {run_python} -m bindep --brief "
                                          f"--file /var/tmp/lent/{system.name} || true").split()
            apt.install(root, missing)
            wanted = [needs["ansible_core"]["package_pip"], needs["ansible_runner"]["package_pip"]]
            _download(lent / "python", [*wanted, "--requirement", str(python)])
            words = " ".join(f"'{word}'" for word in wanted)
            apt.in_chroot(root, f"{run_pip} {offline} --break-system-packages --find-links /var/tmp/lent/python "
                                f"{words} --requirement /var/tmp/lent/{python.name}")
            # No Galaxy here: that Python packages bring all the collections is what is claimed, so it is checked.
            said = apt.in_chroot(root, "HOME=/var/tmp/lent PATH=/usr/local/bin:$PATH ansible-galaxy collection "
                                       f"install --offline --requirements-file /var/tmp/lent/{collections.name}")
            if "Nothing to do" not in said:
                raise apt.BuildError(f"{python.name} does not bring what {collections.name} asks for: {said}")
        finally:
            shutil.rmtree(lent, ignore_errors=True)
        # What the entry point of ansible-builder's images does for the user whom a job runs as.
        with (root / "etc/passwd").open("a") as users:
            users.write(f"runner:x:{named['options']['user']}:0:runner:{HOME}:/bin/bash\n")
        for place in (HOME, PROJECT, LAB):
            (root / place.lstrip("/")).mkdir(parents=True)
        (root / HOME.lstrip("/")).chmod(0o775)  # the group, which is root's, may write

    return ensure(cache, "execution-environment", key, build) / "rootfs"


def _download(into: Path, wanted: Sequence[str]) -> None:
    """Wheels for the environment's Python, and of all that they need, fetched as this machine fetches."""
    into.mkdir(parents=True)
    machine = MACHINES.get(apt.architecture(), "x86_64")
    platforms = [word for name in GLIBC for word in ("--platform", f"{name}_{machine}")]
    apt.run([sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--only-binary=:all:",
             "--implementation", "cp", "--python-version", "3.11", *platforms, "--dest", str(into), *wanted])


class Container:
    """Where playbooks run as the platform runs them: somebody without rights, the project read-only, nothing kept.

    `state`: that of the lab, in which its relay's socket lies. `key`: a copy of the controller's private key that the
    user may read, which stands in for the job's machine credential.
    """

    def __init__(self, rootfs: Path, project: Path, state: Path, key: Path, port: int) -> None:
        self._command = [
            "podman", "--runtime", "runc", "--cgroup-manager", "cgroupfs", "run", "--rm", "--user", f"{UID}:0",
            "--cap-drop", "all", "--security-opt", "no-new-privileges", "--network", "host",
            "--read-only", "--read-only-tmpfs=false", "--tmpfs", "/tmp:rw,mode=1777",  # noqa: S108  inside
            "--tmpfs", f"{HOME}:rw,mode=0770",
            "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096",
            "--volume", f"{project}:{PROJECT}:ro", "--volume", f"{state}:{LAB}:ro",
            "--volume", f"{key}:{LAB}/keys/controller:ro",
            "--workdir", PROJECT, "--env", f"HOME={HOME}", "--env", "PATH=/usr/local/bin:/usr/bin:/bin",
            "--env", "ANSIBLE_NOCOLOR=1", "--env", "PYTHONUNBUFFERED=1",
            "--env", f"DFIR_LAB_STATE={LAB}", "--env", f"DFIR_LAB_PORT={port}"]
        self._rootfs = rootfs

    def run(self, *command: str, environ: dict[str, str] | None = None, timeout: float = 1800
            ) -> subprocess.CompletedProcess[str]:
        """Run a command in a container of its own; what it prints is in `stdout`."""
        more = [word for name, value in (environ or {}).items() for word in ("--env", f"{name}={value}")]
        return subprocess.run([*self._command, *more, "--rootfs", str(self._rootfs), *command], check=False, text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=timeout)


def checked_out(folder: Path) -> Path:
    """The project as a job has it: the files under version control (as they are here, and new ones), nothing else."""
    listed = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"], cwd=CHECKOUT,
                            check=True, capture_output=True, text=True).stdout.split("\0")
    folder.mkdir()
    for name in listed:
        source, target = CHECKOUT / name, folder / name
        if not name or not (source.is_symlink() or source.is_file()):
            continue  # removed here, and not yet there
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target, follow_symlinks=False)
    for path in [folder, *folder.rglob("*")]:  # whoever made the checkout: the job's user may read it
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
    return folder
