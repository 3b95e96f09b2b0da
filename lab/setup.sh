#!/bin/sh
# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Installs what a fresh machine lacks: Debian packages and the virtual environment .venv with the collections that PyPI's
# "ansible" brings. Says what it does; silent and quick when everything is there.
#   lab/setup.sh apt        Debian packages that the lab needs (lab/apt.txt), with sudo where the caller is not root
#   lab/setup.sh apt-tests  those that tests need besides (tests/apt.txt)
#   lab/setup.sh venv       the virtual environment .venv
#   lab/setup.sh eda        that of ansible-rulebook (.venv-eda), whose requirements leave out versions that .venv has
set -eu
cd "$(dirname "$0")/.."

say() { printf 'setup: %s\n' "$*"; }

need_apt() {
    command -v apt-get >/dev/null 2>&1 || {
        say "this machine has no apt-get; the lab needs Debian 12 or a current Ubuntu." >&2
        exit 1
    }
    missing=""
    for package in "$@"; do
        state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
        [ "$state" = installed ] || missing="$missing $package"
    done
    [ -n "$missing" ] || return 0
    sudo=""
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null 2>&1 || {
            say "not root and no sudo here; as root, run: apt-get install$missing" >&2
            exit 1
        }
        sudo="sudo"
    fi
    say "installing Debian packages:$missing"
    log=$(mktemp)
    # shellcheck disable=SC2086  # a list of package names
    if ! { $sudo apt-get update -q && $sudo env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -q --no-install-recommends $missing; } >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        say "apt-get failed; the lines above say why." >&2
        exit 1
    fi
    rm -f "$log"
}

find_python() {
    for candidate in python3 /usr/bin/python3 python3.13 python3.12 python3.11; do
        if command -v "$candidate" >/dev/null 2>&1 &&
            "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return 0
        fi
    done
    return 1
}

# A folder, and the files of requirements
environment() {
    folder="$1"
    shift
    stamp="$folder/.complete-$(cat "$@" | sha256sum | cut -c1-16)"
    [ ! -e "$stamp" ] || return 0
    python=$(find_python) || {
        need_apt python3
        python=$(find_python) || {
            say "Python 3.11 or newer is needed; this machine has $(python3 --version 2>&1)." >&2
            exit 1
        }
    }
    # Debian splits venv off; "import ensurepip" is what is missing then.
    "$python" -c 'import ensurepip' 2>/dev/null || need_apt python3-venv
    say "making the virtual environment $folder with $("$python" --version) (some minutes the first time)"
    [ -x "$folder/bin/python" ] || "$python" -m venv "$folder"
    log=$(mktemp)
    if ! cat "$@" | "$folder/bin/python" -m pip install -q --disable-pip-version-check -r /dev/stdin >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        say "pip failed; the lines above say why." >&2
        exit 1
    fi
    rm -f "$log" "$folder"/.complete-*
    : >"$stamp"
}

case "${1:-}" in
apt)
    # shellcheck disable=SC2046  # a list of package names
    need_apt $(sed 's/#.*//' lab/apt.txt)
    ;;
apt-tests)
    # shellcheck disable=SC2046  # a list of package names
    need_apt $(sed 's/#.*//' lab/apt.txt tests/apt.txt)
    ;;
venv) environment .venv requirements.txt lab/requirements.txt tests/requirements.txt ;;
eda) environment .venv-eda tests/requirements-eda.txt ;;
*)
    say "usage: lab/setup.sh apt|apt-tests|venv|eda" >&2
    exit 2
    ;;
esac
