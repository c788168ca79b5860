"""Where the numbers of a page come from: the command, its time, and the environment."""

import re
from collections.abc import Mapping
from typing import Any

from minbert.cli.page import facts, folded
from multitask.config.option_types import flat


def origin(values: Mapping[str, Any]) -> str:
    """The command and time of an ablation or a search, and folded its environment."""
    created = values["created"][:16].replace("T", " ")  # without seconds and offset
    found = {"created, UTC": created, "command": values["command"]}
    return facts("", {key: value for key, value in found.items() if value}) + environment(
        values["environment"]
    )


def environment(values: Mapping[str, Any]) -> str:
    """Versions and device, data files with their SHA-256; folded, empty for no values."""
    known = {
        re.sub(r"^data\.", "SHA-256 of ", key): value
        for key, value in flat(dict(values)).items()
        if value not in (None, "", {})
    }
    return folded("Where it ran", facts("", known, "environment")) if known else ""
