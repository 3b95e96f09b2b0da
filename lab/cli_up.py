# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m lab up`: build what is missing, start the one process, wait until it answers, fill the account."""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from lab import config, sweep
from lab.cli_client import LabError, ask, health
from lab.config import LabConfig

START_SECONDS = 60.0
SEEDED = "seeded"  # a file in the state folder: the account was filled to the end
TOOLS = ("systemd-nspawn", "ip", "nft", "nsenter", "losetup", "partx")


def say(text: str) -> None:
    """One line of what is going on."""
    print(f"lab: {text}", flush=True)


def up(settings: LabConfig, options: argparse.Namespace) -> int:
    """Start the lab."""
    running = health(settings)
    if running is not None:
        if running["state"] != str(settings.state):
            raise LabError(f"another lab ({running['state']}) listens on port {settings.port}; "
                           "choose another port with DFIR_LAB_PORT")
        say(f"is up already at {settings.endpoint} (process {running['pid']})"
            + ("" if running["hosts"] else ", without hosts"))
        if running["hosts"]:
            _offer_tools(settings)  # of this checkout, which may have changed since
        if not options.no_seed and not (settings.state / SEEDED).exists():
            _seed(settings, options)  # it was interrupted, or had been left out
        return 0
    if not options.no_hosts:
        _check_machine()
    if sweep.leftovers(settings):
        say(f"removing what an earlier lab left in {settings.state}")
        sweep.sweep(settings)
        left = sweep.leftovers(settings)
        if left:
            raise LabError(f"cannot clean up after an earlier lab ({'; '.join(left)}); "
                           "run `python -m lab down` as root")
    _check_ports(settings)
    if not options.no_hosts:
        _build(settings)
    if options.foreground:
        from lab import service

        return service.run(settings, with_hosts=not options.no_hosts)
    _start(settings, with_hosts=not options.no_hosts)
    if not options.no_hosts:
        _offer_tools(settings)
    if not options.no_seed:
        _seed(settings, options)
    _explain(settings, with_hosts=not options.no_hosts, seeded=not options.no_seed)
    return 0


def _check_machine() -> None:
    if os.geteuid() != 0:
        raise LabError("hosts need root: run `make lab-up`, or `python -m lab up --no-hosts` for the API alone")
    missing = [tool for tool in TOOLS if shutil.which(tool, path="/usr/sbin:/usr/bin:/sbin:/bin") is None]
    if missing:
        raise LabError(f"{', '.join(missing)} missing on this machine; install them with: lab/setup.sh apt")


def _check_ports(settings: LabConfig) -> None:
    for port in (settings.port, settings.tls_port, settings.smtp_port):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                raise LabError(f"port {port} cannot be used ({error.strerror}); "
                               "choose another one with DFIR_LAB_PORT") from None


def _build(settings: LabConfig) -> None:
    from lab.content.cache import BuildError
    from lab.content.host_image import ensure_host_image, ensure_packages
    from lab.content.toolbox import ensure_toolbox_image
    from lab.content.wheels import ensure_wheels

    parts: tuple[tuple[str, Callable[[Path], object]], ...] = (
        ("the hosts' Debian image", ensure_host_image), ("the package source", ensure_packages),
        ("the wheels", ensure_wheels), ("the toolbox image", ensure_toolbox_image))
    try:
        for what, ensure in parts:
            start = time.monotonic()
            say(f"preparing {what} (some minutes the first time, then cached in {settings.cache})")
            ensure(settings.cache)
            if time.monotonic() - start > 5:
                say(f"  done after {time.monotonic() - start:.0f} s")
    except BuildError as error:
        raise LabError(str(error)) from None


def _offer_tools(settings: LabConfig) -> None:
    """Let the hosts pull the toolbox image of this checkout."""
    from lab.content.toolbox import ensure_toolbox_image, image_version

    reference = {"layout": str(ensure_toolbox_image(settings.cache)), "name": "analyst-tools", "tag": image_version()}
    say(f"hosts can pull {ask(settings, 'images', reference)['published']}")


def _seed(settings: LabConfig, options: argparse.Namespace) -> None:
    from lab import seed

    seed.seed(settings, evidence=not options.no_evidence, say=say)
    (settings.state / SEEDED).touch()


def _start(settings: LabConfig, *, with_hosts: bool) -> None:
    say("starting" + ("" if with_hosts else " without hosts"))
    settings.state.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "lab", "_serve", str(settings.state)]
    command += [] if with_hosts else ["--no-hosts"]
    with settings.log_file.open("ab") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                                   cwd=config.CHECKOUT, env=_environment(settings))
    until = time.monotonic() + START_SECONDS
    while health(settings) is None:
        if process.poll() is not None or time.monotonic() > until:
            reason = _last_words(settings)
            sweep.sweep(settings)
            raise LabError(f"did not start: {reason}")
        time.sleep(0.1)


def _environment(settings: LabConfig) -> dict[str, str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MOTO_"))}
    # Everything that follows from the environment of `up` holds for the process, too.
    return {**env, "DFIR_LAB_STATE": str(settings.state), "DFIR_LAB_CACHE": str(settings.cache),
            "DFIR_LAB_PORT": str(settings.port)}


def _last_words(settings: LabConfig) -> str:
    lines = settings.log_file.read_text(errors="replace").splitlines() if settings.log_file.exists() else []
    marked = [line for line in lines if line.startswith("lab: could not start: ")]
    if marked:
        return marked[-1].removeprefix("lab: could not start: ")
    return " / ".join(lines[-3:]) or f"it did not answer within {START_SECONDS:.0f} s"


def _explain(settings: LabConfig, *, with_hosts: bool, seeded: bool) -> None:
    say(f"up at {settings.endpoint} (TLS: port {settings.tls_port}, mail: port {settings.smtp_port})")
    say(f"state {settings.state}, log {settings.log_file}")
    if seeded and with_hosts:
        say("try: ansible-playbook -i inventories/lab playbooks/analyze_request.yml -e @examples/analyze_request.yml")
    say("look: python -m lab status; disturb: python -m lab fault; stop: python -m lab down")
