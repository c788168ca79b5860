"""Messages for the user of a run: INFO records of the logger "multitask", which a command line shows."""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

logger = logging.getLogger("multitask")


@contextmanager
def show_messages(write: Callable[[str], None]) -> Iterator[None]:
    """Passes the messages to `write`, one line each; drops them on ranks above 0."""
    handler = logging.Handler()
    handler.emit = lambda record: None if int(os.environ.get("RANK", 0)) else write(record.getMessage())
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
