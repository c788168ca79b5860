"""Messages for the user of a run: INFO records of the logger "multitask", which a command line shows."""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

logger = logging.getLogger("multitask")


class _Lines(logging.Handler):
    def __init__(self, write: Callable[[str], None]):
        super().__init__()
        self.write = write

    def emit(self, record: logging.LogRecord) -> None:
        self.write(record.getMessage())


@contextmanager
def show_messages(write: Callable[[str], None]) -> Iterator[None]:
    """Passes the messages to `write`, one line each; drops them on ranks above 0."""
    handler = _Lines((lambda line: None) if int(os.environ.get("RANK", 0)) else write)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
