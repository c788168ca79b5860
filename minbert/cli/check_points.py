"""Points of stages: the TOML file of `--points`."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from minbert.errors import InputError, did_you_mean
from minbert.files import read_toml


def read_points(path: str | Path | None, parts: Iterable) -> dict[str, dict[str, int]]:
    """Part -> stage -> points from a TOML file; none for None.

    Parts of the file that are not checked now are left out. Raises InputError for other stages than a
    part's own, and for other points than whole numbers from 0.
    """
    if path is None:
        return {}
    if not Path(path).is_file():
        raise InputError(f"there is no file {path}; give a TOML file with the points of the stages")
    table = read_toml(Path(path), 'write [model] and lines such as "scaled scores" = 3')
    stages: dict[str, set[str]] = {}
    for part in parts:
        stages.setdefault(part.name, set()).update(stage.name for stage in part.stages)
    for name, values in table.items():
        if not isinstance(values, dict):
            raise InputError(f"{path}: {name} stands outside of a part; write [model] above the stages")
        for stage, points in values.items():
            if name in stages and stage not in stages[name]:
                hint = did_you_mean(stage, stages[name])
                raise InputError(f"{path}: part {name!r} has no stage {stage!r}{hint}")
            if type(points) is not int or points < 0:
                raise InputError(f"{path}: {stage!r} has {points!r} points; give a whole number from 0")
    return table


def with_points(findings: Iterable, points: Mapping[str, Mapping[str, int]]) -> list:
    """The findings with the points of a table; stages that it does not have keep theirs."""
    return [
        replace(finding, points=points.get(finding.part, {}).get(finding.stage, finding.points))
        for finding in findings
    ]
