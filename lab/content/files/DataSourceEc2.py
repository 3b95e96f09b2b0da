# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cloud-init's own Ec2 data source, told that it runs on AWS.

It would look for Amazon's name in the machine's firmware, which a container does not have; everything else (tokens,
crawling, user data) is cloud-init's own.
"""

from __future__ import annotations

from cloudinit import sources
from cloudinit.sources import DataSourceEc2 as original


class DataSourceEc2(original.DataSourceEc2):
    """The Ec2 data source on a host of the lab."""

    def _get_cloud_name(self) -> str:
        return original.CloudNames.AWS


def get_datasource_list(depends: list[str]) -> list[type]:
    """As cloud-init asks every data source: what it offers once the network is up."""
    return sources.list_from_depends(depends, [(DataSourceEc2, (sources.DEP_FILESYSTEM, sources.DEP_NETWORK))])
