# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Renders a tree into an ext4 image, always the same bytes, with mke2fs and debugfs: nothing is ever mounted."""

from __future__ import annotations

import re
import struct
from pathlib import Path

from lab.evidence.run import BuildError, run, sparse_file
from lab.evidence.tree import SECOND, Deletion, Node, Tree

BLOCK = 4096
JOURNAL_MAGIC, COMMIT_BLOCK = 0xC03B3998, 2
KINDS = {"file": 0o100000, "folder": 0o040000, "link": 0o120000}


class Ext4Writer:
    """Writes one image. `clock` (seconds) is the time that the tools are told."""

    def __init__(self, image: Path, work: Path, clock: int) -> None:
        self.image, self.work, self.clock = image, work, clock
        self.blobs = 0

    def make(self, tree: Tree, size: int, uuid: str, label: str, *, dirty_journal: bool = False) -> None:
        """Make the file system in a new sparse file of `size` bytes."""
        sparse_file(self.image, size)
        self._tool(["mke2fs", "-q", "-F", "-t", "ext4", "-b", str(BLOCK), "-U", uuid, "-L", label, "-m", "1",
                    "-E", f"hash_seed={uuid},lazy_itable_init=0,nodiscard", str(self.image)])
        nodes = [node for node in tree if node.path != "/"]
        first = [node for node in nodes if not node.late]
        self._debugfs([line for node in first for line in self._create(node)])
        self._debugfs([line for node in first if node.kind != "folder" for line in _attributes(node)])
        self._delete(tree.deletions, [node for node in nodes if node.late])
        # Folders last: every new entry touched their times.
        self._debugfs([line for node in tree if node.kind == "folder" for line in _attributes(node)])
        self._debugfs(["ssv mtime @" + str(self.clock - 7_100_000), "ssv wtime @" + str(self.clock),
                       "ssv mnt_count 9", "ssv last_mounted /"])
        if dirty_journal:
            self._leave_journal_dirty()

    def _create(self, node: Node) -> list[str]:
        if node.kind == "folder":
            # The root folder's lost+found is made by mke2fs.
            return [] if node.path == "/lost+found" else [f"cd {_quoted(node.parent)}", f"mkdir {_quoted(node.name)}"]
        if node.kind == "link":
            return [f"cd {_quoted(node.parent)}", f"symlink {_quoted(node.name)} {_quoted(node.target)}"]
        if node.kind == "hard":
            return ["cd /", f"ln {_quoted(node.target)} {_quoted(node.path)}"]
        blob = self.work / f"blob-{self.blobs}"
        self.blobs += 1
        blob.write_bytes(node.data)
        return [f"cd {_quoted(node.parent)}", f"write {blob} {_quoted(node.name)}"]

    def _delete(self, deletions: list[Deletion], late: list[Node]) -> None:
        """Names go first, then late files take their places, then the inodes go: else late files would take those."""
        inodes = {deletion.path: self._inode(deletion.path) for deletion in deletions}
        # A running server's journal still holds copies of inodes as they were: all that is left of a wiped one.
        for deletion in deletions:
            if deletion.how == "wiped":
                self._journal([self._inode_block(inodes[deletion.path])], deletion.when)
                self._debugfs(["journal_run"])
        self._debugfs([f"unlink {_quoted(deletion.path)}" for deletion in deletions])
        self._debugfs([line for node in late for line in [*self._create(node), *_attributes(node)]])
        after: list[str] = []
        orphan = 0
        for deletion in deletions:
            inode = f"<{inodes[deletion.path]}>"
            after += [f"sif {inode} links_count 0", *_time(inode, "ctime", deletion.when)]
            if deletion.how == "open":  # the orphan list is linked through the deletion times
                after.append(f"sif {inode} dtime @{orphan}")  # @: a bare number would be read as a date
                orphan = inodes[deletion.path]
                continue
            after += [f"kill_file {inode}", f"sif {inode} dtime @{deletion.when // SECOND}"]
            if deletion.how == "wiped":
                # What truncating leaves: an extent header (magic, no entries) and nothing in it.
                after += [f"sif {inode} {name} 0" for name in ("size", "blocks")]
                after += [f"sif {inode} block[0] 0xf30a", *(f"sif {inode} block[{index}] 0" for index in range(3, 12)),
                          *_time(inode, "mtime", deletion.when)]
        if orphan:
            after.append(f"ssv last_orphan {orphan}")
        self._debugfs(after)

    def _leave_journal_dirty(self) -> None:
        """One transaction that is committed in the journal and not yet where it belongs: the group descriptors."""
        self._journal([1], self.clock * SECOND)

    def _journal(self, blocks: list[int], when: int) -> None:
        """Commit the present content of blocks to the journal, which then needs recovery."""
        script = ["journal_open"]
        with self.image.open("rb") as image:
            for block in blocks:
                copy = self.work / f"journal-{block}"
                image.seek(block * BLOCK)
                copy.write_bytes(image.read(BLOCK))
                script.append(f"journal_write -b {block} {copy}")
        self._debugfs([*script, "journal_close"])
        self._set_commit_times(when)

    def _set_commit_times(self, when: int) -> None:
        """debugfs writes the present time into commit blocks, whatever it was told."""
        start = int(self._tool(["debugfs", "-R", "bmap <8> 0", str(self.image)]).split()[-1])
        with self.image.open("r+b") as image:
            for block in range(start + 1, start + 64):
                image.seek(block * BLOCK)
                magic, kind = struct.unpack(">II", image.read(8))
                if (magic, kind) == (JOURNAL_MAGIC, COMMIT_BLOCK):
                    image.seek(block * BLOCK + 48)
                    image.write(struct.pack(">QI", when // SECOND, when % SECOND))

    def _inode_block(self, inode: int) -> int:
        shown = self._tool(["debugfs", "-R", f"imap <{inode}>", str(self.image)])
        found = re.search(r"located at block (\d+)", shown)
        if found is None:
            raise BuildError(f"debugfs does not say where inode {inode} lies: {shown.strip()}")
        return int(found.group(1))

    def _inode(self, path: str) -> int:
        shown = self._tool(["debugfs", "-R", f"stat {_quoted(path)}", str(self.image)])
        found = re.search(r"^Inode: (\d+)", shown, re.MULTILINE)
        if found is None:
            raise BuildError(f"{path} is to be deleted and is not on the disk; add it to the tree first")
        return int(found.group(1))

    def _debugfs(self, lines: list[str]) -> None:
        """Run commands; debugfs answers 0 whatever happens, so its words are read."""
        if not lines:
            return
        script = self.work / "debugfs-script"
        script.write_text("\n".join(lines) + "\n", encoding="utf-8")
        shown = self._tool(["debugfs", "-w", "-f", str(script), str(self.image)])
        command = ""
        for line in shown.splitlines():
            if line.startswith("debugfs: "):
                command = line
            elif re.match(r"[a-z_]+: ", line) and not line.startswith("debugfs"):
                raise BuildError(f"debugfs could not do `{command.removeprefix('debugfs: ')}`: {line}")

    def _tool(self, command: list[str]) -> str:
        return run(command, env={"E2FSPROGS_FAKE_TIME": str(self.clock)})


def _attributes(node: Node) -> list[str]:
    where = _quoted(node.path)
    if node.kind == "hard":
        return [f"sif {_quoted(node.target)} links_count 2"]
    lines = [f"sif {where} mode 0{KINDS[node.kind] | node.mode:o}"]
    lines += [f"sif {where} {name} {value}" for name, value in (("uid", node.uid), ("gid", node.gid)) if value]
    times = node.times
    for field, moment in (("mtime", times.m), ("atime", times.a), ("ctime", times.c), ("crtime", times.b)):
        lines += _time(where, field, moment)
    return lines


def _time(where: str, field: str, moment: int) -> list[str]:
    seconds, fraction = divmod(moment, SECOND)
    return [f"sif {where} {field} @{seconds}", f"sif {where} {field}_extra {fraction << 2}"]


def _quoted(text: str) -> str:
    if '"' in text or "\n" in text:
        raise BuildError(f"debugfs cannot take the name {text!r}")
    return f'"{text}"'
