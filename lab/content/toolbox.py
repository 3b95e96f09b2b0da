# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The toolbox image of this checkout, built for the lab's registry."""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from lab.config import CHECKOUT
from lab.content import apt
from lab.content.build_settings import BuildSettings
from lab.content.cache import ensure, recipe_key
from lab.content.container_base import ensure_container_base

RECIPE = "1"  # raise it when the recipe below changes
CONTAINERFILE = "roles/toolbox/files/image/Containerfile"
CONTEXT = ["roles/toolbox/files/image", "plugins/module_utils/forensics", "plugins/module_utils/ebs", "pyproject.toml",
           "LICENSE"]
BASE_IMAGE = "localhost/lab-debian:12"
IMAGE_NAME = "analyst-tools"
BUILD_STAGE = "build"


def image_version(checkout: Path = CHECKOUT) -> str:
    """The version that the image is tagged with: the project's own."""
    match = re.search(r'^version = "([^"]+)"$', (checkout / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    if match is None:
        raise apt.BuildError("pyproject.toml names no version")
    return match[1]


def ensure_toolbox_image(cache: Path, checkout: Path = CHECKOUT) -> Path:
    """The toolbox image as an OCI layout folder; built when the cache has none of these sources."""
    base = ensure_container_base(cache)
    key = recipe_key(RECIPE, base.parent.name, context_hash(checkout))

    def build(folder: Path) -> None:
        # Layers stay here between builds: a change in the project's own code must not download every tool again.
        # What podman knows only until the next boot lies below /run, always in one place: it insists on that.
        run_folder = Path("/run") / f"dfir-aws-podman-{recipe_key(str(cache))}"
        podman = ["podman", "--root", str(cache / "podman-layers"), "--runroot", str(run_folder),
                  "--cgroup-manager", "cgroupfs"]
        with tempfile.TemporaryDirectory(prefix="lab-toolbox-") as name:
            work = Path(name)
            settings = BuildSettings(work / "settings")
            _copy_context(checkout, work / "context")
            base_tag = f"{BASE_IMAGE}-{recipe_key(base.parent.name)}"
            if base_tag not in apt.run([*podman, "images", "--format", "{{.Repository}}:{{.Tag}}"]).split():
                apt.run([*podman, "import", "--quiet", str(base), base_tag])
            # The chroot isolation and the limits need no privilege beyond root, so this also builds inside a container;
            # the network is the machine's own as it is: podman is not to make one.
            recipe = [*podman, "build", "--quiet", "--layers", "--isolation", "chroot", "--network", "host",
                      "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096", *settings.volumes,
                      "--build-arg", f"BASE={base_tag}", "--build-arg", f"VERSION={image_version(checkout)}",
                      "--file", str(work / "context" / CONTAINERFILE)]
            tag, stage_tag = f"localhost/{IMAGE_NAME}:{key}", f"localhost/{IMAGE_NAME}-{BUILD_STAGE}:{key}"
            # The stage gets a name of its own: what has none is given back below, and it is what takes long.
            apt.run([*recipe, "--target", BUILD_STAGE, "--tag", stage_tag, str(work / "context")])
            apt.run([*recipe, "--tag", tag, str(work / "context")])
            # The compression that is fastest to undo: every new host does it.
            apt.run([*podman, "push", "--quiet", "--compression-format", "zstd", tag, f"oci:{folder / 'layout'}"])
            _forget_images(podman, {tag, stage_tag, base_tag})

    return ensure(cache, "toolbox-image", key, build) / "layout"


def write_archive(layout: Path, reference: str, target: Path) -> None:
    """The image as `podman save --format oci-archive` writes it: its layout in a tar, with the name it loads as."""
    index = json.loads((layout / "index.json").read_text(encoding="utf-8"))
    for manifest in index["manifests"]:
        manifest["annotations"] = {"org.opencontainers.image.ref.name": reference}
    named = json.dumps(index).encode()
    entry = tarfile.TarInfo("index.json")
    entry.size = len(named)
    with tarfile.open(target, "w") as archive:
        archive.addfile(entry, io.BytesIO(named))
        archive.add(layout, arcname=".", filter=lambda item: None if item.name == "./index.json" else item)


def _forget_images(podman: list[str], kept: set[str]) -> None:
    """Give back the layers of earlier builds; those that the images kept are made of stay, for the next build."""
    names = apt.run([*podman, "images", "--format", "{{.Repository}}:{{.Tag}}"]).split()
    superseded = [name for name in names if name not in kept and not name.startswith("<none>")]
    with suppress(apt.BuildError):  # a layer that stays costs room, nothing else
        for name in superseded:
            apt.run([*podman, "rmi", name])
        apt.run([*podman, "image", "prune", "--force"])


def context_hash(checkout: Path) -> str:
    """A hash over everything that the image is made from."""
    digest = hashlib.sha256()
    for path in context_files(checkout):
        data = path.read_bytes()
        digest.update(f"{path.relative_to(checkout)}\0{len(data)}\0{path.stat().st_mode & 0o111:o}\0".encode())
        digest.update(data)
    return digest.hexdigest()


def context_files(checkout: Path) -> Iterator[Path]:
    """The files that the image is made from, in a fixed order; what Python leaves behind is none of them."""
    for part in CONTEXT:
        top = checkout / part
        for path in [top] if top.is_file() else sorted(top.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path


def _copy_context(checkout: Path, target: Path) -> None:
    for path in context_files(checkout):
        copy = target / path.relative_to(checkout)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, copy)
