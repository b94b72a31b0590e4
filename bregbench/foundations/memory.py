"""Let the C library keep freed memory, because every training step takes the same large blocks again.

By default glibc hands blocks above a threshold back to the kernel at once and gets them again page by
page, which costs a convolutional network up to a third of its time on the CPU (docs/performance.md).
"""

from __future__ import annotations

import ctypes
import platform

# Parameters of mallopt(3).
_TRIM_THRESHOLD = -1
_TOP_PAD = -2
_MMAP_MAX = -4


def keep_freed_memory() -> bool:
    """Ask glibc to reuse freed memory and not to return it, for the rest of the process.

    Returns:
        Whether the C library took the settings; False elsewhere than on Linux with glibc.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    library = ctypes.CDLL(None)
    never_trim, no_mappings = -1, 0
    return all(
        library.mallopt(parameter, value) == 1
        for parameter, value in (
            (_MMAP_MAX, no_mappings),
            (_TRIM_THRESHOLD, never_trim),
            (_TOP_PAD, 64 * 2**20),
        )
    )
