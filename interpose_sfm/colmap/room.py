"""Room on the disk for COLMAP, which ends the process where its database meets a full one.

Its threads write in transactions whose destructors throw, and nothing can catch that. So there has to be a reserve when
COLMAP begins, and a call that goes on while it is used up is cancelled.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from interpose_sfm.failures import disk_full

RESERVE_BYTES = 64 << 20
"""More than COLMAP writes between two looks, and after it was told to stop."""


def check_room(folder: Path) -> None:
    """See whether there is enough room left in the file system of a folder.

    Raises:
        OSError: There is less than the reserve.
    """
    usage = shutil.disk_usage(folder)
    if usage.total and usage.free < RESERVE_BYTES:  # some network file systems tell no sizes
        needed = f"COLMAP needs {RESERVE_BYTES >> 20} MiB of free room beside what it writes"
        raise disk_full(f"{needed}, and {usage.free / 2**20:.1f} MiB are left", folder)
