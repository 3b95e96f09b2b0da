# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who holds a request's lease, as an action says it: modules run in processes of their own and cannot know."""

from __future__ import annotations

import multiprocessing
import os
import socket
import uuid

from ansible_collections.dfir.aws.plugins.module_utils.record import holder_of_process


def holder(job: str) -> str:
    """The platform's job, or else this run of ansible-playbook."""
    if job:
        return f"awx-job-{job}"
    return holder_of_process(socket.gethostname(), _playbook(), uuid.uuid4())


def run_of_process() -> str:
    """This run of ansible-playbook, the same in all its actions and never again: by start time and kernel."""
    return holder_of_process(socket.gethostname(), _playbook(), "run")


def _playbook() -> int:
    parent = multiprocessing.parent_process()  # actions run in a forked worker
    return parent.pid or os.getpid() if parent else os.getpid()
