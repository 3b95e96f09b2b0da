# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's AWS: moto in this process, corrected where it is wrong, behind a gate that enforces policies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from . import (
    account,
    ec2_filters,
    ec2_groups,
    ec2_instances,
    ec2_locks,
    ec2_responses,
    ec2_snapshot_sets,
    ec2_snapshots,
    ec2_volumes,
    kms_keys,
    memberships,
    moto_app,
    quotas,
    s3_checksums,
    sts_roles,
)
from .gate import Authorizer, Gate
from .rooms import Catalog, Metadata
from .world import World, set_current


@dataclass
class Aws:
    """What `service.py` joins with the other rooms."""

    world: World
    app: Gate
    authorizer: Authorizer
    catalog: Catalog
    metadata: Metadata

    def close(self) -> None:
        """Nothing happens later any more."""
        self.world.close()


_application: Any = None


def start(world: World) -> Aws:
    """An empty account. There is one AWS per process: moto's models are global."""
    global _application
    for module in (ec2_snapshots, ec2_snapshot_sets, ec2_locks, ec2_volumes, ec2_instances, ec2_groups, ec2_responses,
                   kms_keys, quotas, s3_checksums, sts_roles, memberships, ec2_filters):
        module.install()
    set_current(world)
    moto_app.reset()
    account.prepare()
    if _application is None:
        _application = moto_app.wsgi()
    return Aws(world, Gate(_application), Authorizer(), Catalog(), Metadata(world))
