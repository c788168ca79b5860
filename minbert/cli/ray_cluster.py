"""The Ray cluster that a command uses: one that is started for it on this machine, or one at an address."""

import logging
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from types import ModuleType
from typing import Any

from minbert.errors import InputError

CONNECT_SECONDS = 10
# Silences Ray: no usage statistics; the second one, its next version's default, ends a warning.
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


def import_ray() -> ModuleType:
    """Returns the package. Raises InputError where it is not installed."""
    try:
        import ray
    except ImportError:
        raise InputError('--engine ray needs Ray; pip install "minbert[ray]"') from None
    return ray


@contextmanager
def ray_cluster(address: str | None, **local: Any) -> Iterator[ModuleType]:
    """Yields the package ray, connected until the block ends; what it prints goes to standard error.

    `address` is HOST:PORT of a running cluster; None starts one on this machine, with the options `local`.
    Raises InputError where Ray is not installed or cannot be reached.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    ray = import_ray()
    if address is not None:
        _check(address)
    options = local | {"include_dashboard": False} if address is None else {}
    logging.getLogger("ray").setLevel(logging.ERROR)
    with redirect_stdout(sys.stderr):
        try:
            ray.init(address or "local", log_to_driver=False, configure_logging=False, **options)
        except (ConnectionError, RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise InputError(f"Ray cannot be used at {address or 'this machine'}: {reason}") from None
        try:
            yield ray
        finally:
            ray.shutdown()


def _check(address: str) -> None:
    """Raises InputError where nothing answers; Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
    except (OSError, ValueError, OverflowError) as error:
        raise InputError(
            f"--ray-address {address} does not answer ({error}); give HOST:PORT of the head node, as "
            f"`ray start --head` prints it"
        ) from None
