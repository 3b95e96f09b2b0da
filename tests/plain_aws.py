# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plain moto over HTTP, in a process of its own: the lab's corrections to moto's models hold for a whole process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

REGION = "eu-west-1"


class PlainAws:
    """A running moto, and a way to bring its EC2 models into states that no call can."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.url = self._answer()

    def _answer(self) -> str:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"moto's process ended with {self._process.wait()}")
        return str(json.loads(line))

    def set(self, kind: str, identifier: str, **attributes: Any) -> None:
        """Set attributes of one of moto's EC2 models: `snapshots`, `amis`, `volumes`."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps([kind, identifier, attributes]) + "\n")
        self._process.stdin.flush()
        answer = self._answer()
        if answer != "ok":
            raise RuntimeError(answer)


@contextmanager
def plain_aws() -> Iterator[PlainAws]:
    """Start moto, and end it with the block."""
    command = [sys.executable, __file__]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          text=True) as process:
        try:
            yield PlainAws(process)
        finally:
            process.terminate()


def serve() -> None:
    """The process: moto on a free port of the loopback; then one line in, one line out, until nobody asks any more."""
    os.environ["MOTO_EC2_LOAD_DEFAULT_AMIS"] = "false"
    from moto.core.models import DEFAULT_ACCOUNT_ID
    from moto.ec2.models import ec2_backends
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    print(json.dumps(f"http://{host}:{port}"), flush=True)
    for line in sys.stdin:
        kind, identifier, attributes = json.loads(line)
        try:
            model = getattr(ec2_backends[DEFAULT_ACCOUNT_ID][REGION], kind)[identifier]
            for name, value in attributes.items():
                setattr(model, name, value)
            answer = "ok"
        except (AttributeError, KeyError) as error:
            answer = repr(error)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve()
