"""The pytest plugin: `pytest --minbert-check=student/` has one test for each stage of each file there.

Without the option it does nothing and imports nothing of the kit.
"""

import json
from pathlib import Path

import pytest

POINTS, POSSIBLE = "points", "points_possible"  # properties of a test's report


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("minbert", "minbert: code compared with reference outputs")
    group.addoption("--minbert-check", metavar="DIR", help="check bert.py, optimizer.py, ... in DIR")
    group.addoption("--minbert-check-points", metavar="FILE.toml", help="points of the stages")
    group.addoption("--minbert-check-json", metavar="FILE.json", help="write all findings")
    group.addoption("--minbert-check-time-limit", type=float, default=20, metavar="S", help="seconds a stage")
    group.addoption("--minbert-check-memory-limit", type=int, default=4096, metavar="MB", help="default 4096")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("minbert_check"):
        config.pluginmanager.register(CheckedFolder(config), "minbert-checked-folder")


class CheckDiffers(Exception):
    """A stage that differs, with its finding."""


class CheckedFolder:
    """Adds the files of a folder to a session, and collects their findings."""

    def __init__(self, config: pytest.Config):
        from minbert.check.parts import find_part, part_places
        from minbert.cli.check import files_of_parts, limits_of
        from minbert.cli.check_points import read_points
        from minbert.errors import InputError

        self.config = config
        self.folder = (config.invocation_params.dir / config.getoption("minbert_check")).resolve()
        self.places = part_places()
        self.findings: list[dict] = []
        try:
            self.files = files_of_parts(self.folder, self.places)
            self.parts = {name: find_part(self.places[name]) for name in self.files}
            self.points = read_points(config.getoption("minbert_check_points"), self.parts.values())
            seconds, megabytes = (
                config.getoption(f"minbert_check_{name}_limit") for name in ("time", "memory")
            )
            self.limits = limits_of(seconds, megabytes)
        except (InputError, OSError) as error:
            raise pytest.UsageError(str(error)) from None

    def pytest_ignore_collect(self, collection_path: Path) -> bool | None:
        """The folder's own test files are not run unless they are named: the course's test at import."""
        return True if collection_path.parent == self.folder and collection_path.is_file() else None

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(self, collector: pytest.Collector):
        """Adds the files to what the session collects."""
        report = yield
        if isinstance(collector, pytest.Session) and report.result is not None:
            report.result += [
                CheckedFile.from_parent(collector, path=path, name=path.name, plugin=self, part=name)
                for name, path in self.files.items()
            ]
        return report

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo):
        report = yield
        if isinstance(item, CheckedStage) and report.when == "call" and item.finding:
            from minbert.check.report import finding_as_json

            report.minbert_finding = finding_as_json(item.finding)
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.findings += [report.minbert_finding] if hasattr(report, "minbert_finding") else []

    def points_of_all(self) -> dict[str, int]:
        names = ("earned", "possible")
        return {name: sum(finding["points"][name] for finding in self.findings) for name in names}

    def pytest_sessionfinish(self) -> None:
        path = self.config.getoption("minbert_check_json")
        if path and not hasattr(self.config, "workerinput"):  # a process of pytest-xdist has but a part
            from minbert.files import atomic_write

            with atomic_write(self.config.invocation_params.dir / path) as file:
                json.dump({"points": self.points_of_all(), "stages": self.findings}, file, indent=1)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        points = self.points_of_all()
        terminalreporter.write_line(f"points {points['earned']} / {points['possible']}")


class CheckedFile(pytest.File):
    """A user's file: one test for each stage of its part. Its process runs once, for the first test."""

    def __init__(self, plugin: CheckedFolder, part: str, **node):
        super().__init__(**node)
        self.plugin = plugin
        self.part = part
        self.found = {}

    def collect(self):
        for stage in self.plugin.parts[self.part].stages:
            yield CheckedStage.from_parent(self, name=stage.name)

    def findings(self) -> dict:
        """Stage -> finding."""
        if not self.found:
            from minbert.check.isolation.process import check_file
            from minbert.cli.check_points import with_points

            found = check_file(self.plugin.places[self.part], self.path, self.plugin.limits)
            found = with_points(found, self.plugin.points)
            self.found = {finding.stage: finding for finding in found}
        return self.found


class CheckedStage(pytest.Item):
    """One stage of a file: passes where it agrees, is skipped where it is not there."""

    finding = None  # known when the test has run

    def runtest(self) -> None:
        finding = self.finding = self.parent.findings()[self.name]
        self.user_properties += [(POINTS, finding.earned), (POSSIBLE, finding.points)]
        if finding.printed:
            self.add_report_section("call", "printed", finding.printed)
        if finding.excused:
            pytest.skip(f"follows from {finding.excused}, costs nothing")
        if finding.status == "skipped":
            pytest.skip(finding.detail)
        if finding.status != "same":
            raise CheckDiffers(finding)

    def repr_failure(self, excinfo: pytest.ExceptionInfo):
        if not isinstance(excinfo.value, CheckDiffers):
            return super().repr_failure(excinfo)
        from minbert.check.report import explain

        return explain(excinfo.value.args[0])

    def reportinfo(self):
        return self.path, None, self.name
