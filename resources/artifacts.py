"""Files the life cycle leaves behind (models, reports, manifests), local or in an object store."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from upath import UPath


class TamperedError(RuntimeError):
    """A file does not have the content that was recorded when it was written."""


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def canonical_json(value: Any) -> bytes:
    """JSON with one spelling for one value, fit for hashing."""
    return json.dumps(value, sort_keys=True, indent=1, allow_nan=False).encode()


@dataclass(frozen=True)
class Artifacts:
    """A tree of files under one URI. A file appears whole or not at all."""

    root: str

    def uri(self, path: str) -> str:
        return str(self._at(path))

    def exists(self, path: str) -> bool:
        return self._at(path).exists()

    def write(self, path: str, data: bytes) -> str:
        """Write the file, replacing what was there; return its SHA-256."""
        target = self._at(path)
        if target.protocol in ("", "file"):
            _replace(Path(target.path), data)
        else:
            target.write_bytes(data)  # object stores publish an object whole
        return sha256(data)

    def read(self, path: str, expected: str | None = None) -> bytes:
        """The file's content, verified against the SHA-256 that is expected.

        Raises FileNotFoundError where it is absent, TamperedError where it differs.
        """
        data: bytes = self._at(path).read_bytes()
        if expected is not None and sha256(data) != expected:
            raise TamperedError(
                f"{self.uri(path)} has SHA-256 {sha256(data)[:12]}…, recorded was {expected[:12]}…;"
                " it was changed after it was written: materialise the asset that wrote it again"
            )
        return data

    def read_uri(self, uri: str, expected: str) -> bytes:
        """The content of a file named by its whole URI, as `uri` gave it; verified."""
        if not uri.startswith(f"{self.uri('')}"):
            raise FileNotFoundError(f"{uri} does not lie under {self.root}")
        return self.read(uri.removeprefix(self.uri("")).lstrip("/"), expected)

    def write_json(self, path: str, value: Any) -> str:
        return self.write(path, canonical_json(value))

    def read_json(self, path: str, expected: str | None = None) -> Any:
        return json.loads(self.read(path, expected))

    def _at(self, path: str) -> UPath:
        from upath import UPath  # imports a tenth of what Dagster does: not for definitions

        return UPath(self.root) / path


def _replace(target: Path, data: bytes) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
