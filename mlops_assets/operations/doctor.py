"""What this machine has and lacks for running life cycles, with the next step for each."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlparse

from rich.table import Table

from mlops_assets.operations.runs import console
from resources.home import home
from resources.mlflow_client import default_uri

BUILDERS = ("docker", "podman", "buildah")


@dataclass(frozen=True)
class Finding:
    """Something that was looked for. What is needed and absent is a problem."""

    what: str
    found: str | None
    needed_for: str
    next_step: str
    needed: bool = False

    @property
    def problem(self) -> bool:
        return self.needed and self.found is None


def doctor() -> int:
    """Print the findings; return 1 where something is absent that every life cycle needs."""
    findings = [look() for look in LOOKS]
    table = Table(title="mlops-assets doctor")
    for name in ("", "what", "found", "for", "next step"):
        table.add_column(name, overflow="fold")
    for finding in findings:
        table.add_row(
            _mark(finding),
            finding.what,
            finding.found or "–",
            finding.needed_for,
            "" if finding.found else finding.next_step,
        )
    console.print(table)
    return int(any(finding.problem for finding in findings))


def _mark(finding: Finding) -> str:
    if finding.found:
        return "[green]✓[/green]"
    return "[red]✗[/red]" if finding.needed else "[dim]○[/dim]"


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    fits = (3, 11) <= sys.version_info < (3, 14)
    return Finding(
        "Python", version if fits else None, "everything", "install Python 3.11 to 3.13", True
    )


def _environment() -> Finding:
    name = os.environ.get("MLOPS_ENV", "local")
    return Finding(
        "environment",
        name if name == "local" else None,
        "everything",
        f"MLOPS_ENV is {name!r}, which does not exist; set it to local",
        True,
    )


def _home() -> Finding:
    path = home()
    return Finding(
        "home (MLOPS_HOME)",
        str(path) if _writable(path) else None,
        "all that is generated",
        f"{path} cannot be written; set MLOPS_HOME to a directory that can",
        True,
    )


def _writable(path: Path) -> bool:
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            return True
    except OSError:
        return False


def _instance() -> Finding:
    folder = Path(os.environ.get("DAGSTER_HOME", home("dagster")))
    configured = (folder / "dagster.yaml").exists()
    return Finding(
        "Dagster instance",
        str(folder) if configured else None,
        "runs, checks, lineage",
        "make demo, or make ui, sets it up",
    )


def _tracking() -> Finding:
    uri = default_uri()
    path = Path(urlparse(uri).path)
    return Finding(
        "tracking (MLflow)",
        uri if path.exists() else None,
        "runs and models",
        "the first training creates it",
    )


def _builder() -> Finding:
    found = next((name for name in BUILDERS if _works(name)), None)
    return Finding(
        "image builder", found, "OCI images of the service", f"install one of {', '.join(BUILDERS)}"
    )


def _works(builder: str) -> bool:
    """Whether a builder is installed and, where it needs a daemon, reaches it."""
    if shutil.which(builder) is None:
        return False
    return subprocess.run([builder, "info"], capture_output=True, timeout=60).returncode == 0


def _cluster() -> Finding:
    config = Path(os.environ.get("KUBECONFIG", Path.home() / ".kube" / "config"))
    inside = "KUBERNETES_SERVICE_HOST" in os.environ
    found = "inside a cluster" if inside else str(config) if config.exists() else None
    return Finding("Kubernetes cluster", found, "MLOPS_ENV=kubernetes", "set KUBECONFIG")


def _aws() -> Finding:
    names = ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE")
    found = next((name for name in names if os.environ.get(name)), None)
    return Finding("AWS credentials", found, "MLOPS_ENV=aws, tables on S3", "aws configure sso")


LOOKS: tuple[Callable[[], Finding], ...] = (
    _python,
    _environment,
    _home,
    _instance,
    _tracking,
    _builder,
    _cluster,
    _aws,
)
