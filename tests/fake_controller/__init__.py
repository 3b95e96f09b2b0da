# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A stand-in for an automation controller, because none can run here without a licence or a cluster.

It keeps what it is sent in memory, runs no job, and refuses what AWX refuses: the rules were learnt from AWX's
serializers, models and survey checks, and are held apart in `rules.py`.
"""
