"""Asset checks for CI: run on what is stored, told as exit code, JUnit and Markdown."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

import dagster as dg

from mlops_assets.operations.runs import Outcome, console, instance, run

State = Literal["passed", "warned", "failed"]
NOTHING_TO_CHECK = 2


@dataclass(frozen=True)
class Finding:
    """One check of one partition of one asset."""

    asset: str
    check: str
    partition: str
    state: State
    description: str

    @property
    def name(self) -> str:
        name = f"{self.asset}: {self.check}"
        return f"{name} of {self.partition}" if self.partition else name


def check(
    select: str, partition: str | None, junit: Path | None = None, markdown: Path | None = None
) -> int:
    """Run the checks of the selected assets; return the exit code."""
    from mlops_assets.definitions import defs

    with instance() as dagster:
        todo = list(_todo(defs, dagster, select, partition))
        findings = [finding for part in todo for finding in _findings(defs, dagster, part)]
    if not findings:
        console.print(f"nothing to check: no partition of {select!r} was ever materialised; run")
        console.print("  make demo, or materialise the assets in the UI (make ui)")
        return NOTHING_TO_CHECK
    if junit:
        junit.write_bytes(to_junit(findings))
    if markdown:
        markdown.write_text(to_markdown(findings), encoding="utf-8")
    return _tell(findings)


@dataclass(frozen=True)
class _Part:
    """Assets whose checks run together: they share their partitions."""

    assets: tuple[dg.AssetKey, ...]
    partition: str
    """Empty for assets that have none."""


def _todo(
    defs: dg.Definitions, dagster: dg.DagsterInstance, select: str, partition: str | None
) -> Iterator[_Part]:
    graph = defs.resolve_asset_graph()
    selected = dg.AssetSelection.from_string(select).resolve(graph)
    together: dict[tuple[object, str], list[dg.AssetKey]] = defaultdict(list)
    for key in graph.toposorted_asset_keys:
        if key in selected and graph.get(key).check_keys:
            partitions = graph.get(key).partitions_def
            stored = _stored(dagster, key, partitions)
            wanted = {partition} if partition else {max(stored, default="")}
            for found in wanted & stored:
                together[partitions, found].append(key)
    for (_, found), keys in together.items():
        yield _Part(tuple(keys), found)


def _stored(
    dagster: dg.DagsterInstance, key: dg.AssetKey, partitions: dg.PartitionsDefinition | None
) -> set[str]:
    """Partitions that were materialised; the empty one of an asset that has none."""
    if partitions is not None:
        return set(dagster.get_materialized_partitions(key))
    return {""} if dagster.get_latest_materialization_event(key) else set()


def _findings(defs: dg.Definitions, dagster: dg.DagsterInstance, part: _Part) -> Iterator[Finding]:
    job = dg.define_asset_job("checks", dg.AssetSelection.checks_for_assets(*part.assets))
    names = ", ".join(key.path[-1] for key in part.assets)
    outcome = run(
        dg.Definitions.merge(defs, dg.Definitions(jobs=[job])),
        job.name,
        [part.partition] if part.partition else [],
        instance=dagster,
        title=f"Check {names} of {part.partition}" if part.partition else f"Check {names}",
    )
    yield from _evaluated(outcome, part)
    yield from _broken(outcome, part)


def _evaluated(outcome: Outcome, part: _Part) -> Iterator[Finding]:
    for found in outcome.evaluations:
        failed: State = "warned" if found.severity == dg.AssetCheckSeverity.WARN else "failed"
        yield Finding(
            found.asset_key.to_user_string(),
            found.check_name,
            part.partition,
            "passed" if found.passed else failed,
            found.description or "",
        )


def _broken(outcome: Outcome, part: _Part) -> Iterator[Finding]:
    """Checks that could not be asked at all have failed, too."""
    asked = {found.asset_key for found in outcome.evaluations}
    for key in part.assets:
        if key not in asked:
            said = "; ".join(outcome.failures) or "the check did not run"
            yield Finding(key.to_user_string(), "(all)", part.partition, "failed", said)


def _tell(findings: Sequence[Finding]) -> int:
    failed = [finding for finding in findings if finding.state == "failed"]
    warned = [finding for finding in findings if finding.state == "warned"]
    console.print(
        f"{len(findings)} checks: {len(failed)} failed, {len(warned)} warned", highlight=False
    )
    for finding in failed:
        console.print(f"[red]failed[/red] {finding.name}: {finding.description}", highlight=False)
    return 1 if failed else 0


def to_junit(findings: Sequence[Finding]) -> bytes:
    """JUnit XML: a suite an asset, a case a check; a warning is a case that tells something."""
    root = ElementTree.Element("testsuites", name="asset checks")
    for asset in dict.fromkeys(finding.asset for finding in findings):
        cases = [finding for finding in findings if finding.asset == asset]
        failures = sum(case.state == "failed" for case in cases)
        suite = ElementTree.SubElement(
            root, "testsuite", name=asset, tests=str(len(cases)), failures=str(failures)
        )
        for case in cases:
            _junit_case(suite, case)
    ElementTree.indent(root)
    return bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True))


def _junit_case(suite: ElementTree.Element, case: Finding) -> None:
    name = f"{case.check} [{case.partition}]" if case.partition else case.check
    element = ElementTree.SubElement(suite, "testcase", classname=case.asset, name=name)
    if case.state == "failed":
        ElementTree.SubElement(element, "failure", message=case.description)
    elif case.state == "warned":
        ElementTree.SubElement(element, "system-out").text = f"warning: {case.description}"


def to_markdown(findings: Sequence[Finding]) -> str:
    """A table for a job summary, what failed first."""
    marks = {"failed": "❌ failed", "warned": "⚠️ warned", "passed": "✅ passed"}
    ordered = sorted(findings, key=lambda finding: list(marks).index(finding.state))
    rows = [
        f"| {marks[f.state]} | {f.asset} | {f.check} | {f.partition} | {_cell(f.description)} |"
        for f in ordered
    ]
    return "\n".join(
        ["| | asset | check | partition | what it found |", "|---|---|---|---|---|", *rows, ""]
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
