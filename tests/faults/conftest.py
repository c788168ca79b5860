"""Fixtures for runs that are killed, cut off, damaged or started twice: those of the tests of multitask."""

from tests.multitask.conftest import (  # noqa: F401
    said,
    tiny_config,
    tiny_data,
    tiny_options,
    tiny_values,
)
