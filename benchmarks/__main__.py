"""Run all measurements: `python -m benchmarks [--quick]`.

Prints a table and writes benchmarks/results.json and, unless quick, docs/performance.md. Exits 1
where a target was missed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib import import_module
from importlib.metadata import version
from inspect import getdoc
from types import ModuleType
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table
from tabulate import tabulate

from benchmarks.rows import ROOT, Row

MEASUREMENTS = ("loading",)
VERSIONED = ("mlops-assets", "dagster", "pydantic")
RESULTS, PAGE = ROOT / "benchmarks" / "results.json", ROOT / "docs" / "performance.md"
COLUMNS = ("", "ours", "peer", "ratio", "target", "met")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer repetitions")
    quick = parser.parse_args().quick
    modules = [import_module(f"benchmarks.{name}") for name in MEASUREMENTS]
    found = {module: module.measure(quick) for module in modules}
    rows = [row for some in found.values() for row in some]
    results = {"machine": machine(), "versions": versions(), "rows": [_json(row) for row in rows]}
    RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    if not quick:
        PAGE.write_text(page(found), encoding="utf-8")
    _print(rows)
    return 0 if all(row.met for row in rows) else 1


def machine() -> str:
    memory = psutil.virtual_memory().total / 2**30
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GiB"


def versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{name: version(name) for name in VERSIONED}}


def _json(row: Row) -> dict[str, Any]:
    return {**asdict(row), "ratio": row.ratio, "met": row.met}


def cells(row: Row) -> tuple[str, ...]:
    return (
        row.name,
        f"{row.ours:.3g}",
        f"{row.peer:.3g} ({row.peer_name})",
        f"{row.ratio:.2f}",
        f"≤ {row.target:g}",
        "yes" if row.met else "no",
    )


def page(found: Mapping[ModuleType, Sequence[Row]]) -> str:
    """The results for people: the table, and how each row was measured."""
    rows = [cells(row) for some in found.values() for row in some]
    told = ", ".join(f"{name} {number}" for name, number in versions().items())
    parts = [
        "# What it costs",
        "Each measurement stands beside that of a peer, taken in turns on the same machine; the"
        " numbers are medians.",
        tabulate(rows, headers=COLUMNS, tablefmt="github", disable_numparse=True),
        f"Made by `make bench` on {machine()}; {told}.",
        *(f"## {_title(module)}\n\n{getdoc(module)}" for module in found),
    ]
    return "\n\n".join(parts) + "\n"


def _title(module: ModuleType) -> str:
    return module.__name__.removeprefix("benchmarks.").replace("_", " ").capitalize()


def _print(rows: Sequence[Row]) -> None:
    table = Table(*COLUMNS)
    for row in rows:
        table.add_row(*cells(row), style="" if row.met else "red")
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main())
