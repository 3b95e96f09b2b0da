# Copyright (c) 2026 The dfir.aws authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sparse files: which parts are written, copies that keep the holes, holes punched again."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

_FICLONE = 0x40049409
_PUNCH_HOLE_KEEP_SIZE = 0x03
_PIECE = 64 * 1024 * 1024
_LIBC = ctypes.CDLL(None, use_errno=True)


def extents(fd: int, start: int = 0) -> Iterator[tuple[int, int]]:
    """The written byte ranges (first, end) of an open file, in order."""
    size = os.fstat(fd).st_size
    while start < size:
        try:
            start = os.lseek(fd, start, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole up to the end
                return
            raise
        end = os.lseek(fd, start, os.SEEK_HOLE)
        yield start, end
        start = end


def create(path: Path, size: int) -> None:
    """A new file of `size` bytes that is one hole."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
    try:
        os.ftruncate(fd, size)
    finally:
        os.close(fd)


def copy(source: Path, target: Path, size: int | None = None) -> None:
    """A new file with the content of `source`: a reflink where the file system can, else the written parts only.

    `size` makes the copy longer than its source.
    """
    src = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        dst = os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        try:
            if not _clone(src, dst):
                os.ftruncate(dst, os.fstat(src).st_size)
                for start, end in extents(src):
                    _copy_range(src, dst, start, end)
            if size is not None:
                os.ftruncate(dst, size)
        finally:
            os.close(dst)
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    finally:
        os.close(src)


def punch_hole(fd: int, offset: int, length: int) -> None:
    """Give a range of a file back: it reads as zeros and is no longer among `extents`."""
    call = _LIBC.fallocate
    call.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]
    if call(fd, _PUNCH_HOLE_KEEP_SIZE, offset, length) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def write_all(fd: int, data: bytes | memoryview, offset: int) -> None:
    """`pwrite` until everything is written."""
    view = memoryview(data)
    while view:
        done = os.pwrite(fd, view, offset)
        view, offset = view[done:], offset + done


def _clone(src: int, dst: int) -> bool:
    try:
        fcntl.ioctl(dst, _FICLONE, src)
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY):
            return False
        raise
    return True


def _copy_range(src: int, dst: int, start: int, end: int) -> None:
    while start < end:
        try:
            done = os.copy_file_range(src, dst, min(end - start, _PIECE), start, start)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
                raise
            data = os.pread(src, min(end - start, 1 << 20), start)
            write_all(dst, data, start)
            done = len(data)
        if done == 0:
            raise OSError(errno.EIO, "the source of a copy ended early")
        start += done
