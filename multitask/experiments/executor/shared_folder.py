"""A folder that workers share: what identifies it, and whether its file system may lack locks."""

import socket
from pathlib import Path
from uuid import uuid4

from minbert import InputError, atomic_write, make_folder
from multitask.runtime.messages import logger

ID = ".folder-id"
NETWORK = {"afs", "beegfs", "ceph", "cifs", "glusterfs", "gpfs", "lustre", "nfs", "nfs4", "smb3", "smbfs"}
MOUNTS = Path("/proc/mounts")


def make_shared_folder(folder: Path) -> str:
    """Makes a folder for workers; returns what `check_shared_folder` compares."""
    make_folder(folder)
    if not (folder / ID).exists():
        with atomic_write(folder / ID) as file:
            file.write(uuid4().hex)
    return (folder / ID).read_text(encoding="utf-8")


def check_shared_folder(folder: Path, expected: str) -> None:
    """Raises InputError in a worker whose machine has another folder, or none, under this name."""
    path = folder / ID
    if not path.is_file() or path.read_text(encoding="utf-8") != expected:
        raise InputError(
            f"{socket.gethostname()} does not see {folder} as the command does; give --out a folder on "
            f"a file system that all nodes of the cluster share"
        )


def warn_of_network(folder: Path) -> None:
    """Warns where a folder is on a network file system, whose locks may not reach other machines."""
    folder, kind, longest = folder.resolve(), None, 0
    for line in MOUNTS.read_text(encoding="utf-8").splitlines() if MOUNTS.is_file() else []:
        _, point, found, *_ = line.split(" ")
        point = point.encode().decode("unicode_escape")  # \\040 is a space
        if folder.is_relative_to(point) and len(point) >= longest:
            kind, longest = found, len(point)
    if kind and kind.removeprefix("fuse.") in {*NETWORK, "sshfs"}:
        logger.warning(
            f"{folder} is on a network file system ({kind}); commands of other machines may not see its "
            f"locks: use several machines by --engine ray"
        )
