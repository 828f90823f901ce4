"""Versioned tables on Delta Lake: a partition is overwritten whole, a version pins a table."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from deltalake import DeltaTable

PARTITION = "partition"
CONFLICT_RETRIES = 10


class MissingDataError(LookupError):
    """A table, or a partition of it, that was asked for has never been written."""


@dataclass(frozen=True)
class DeltaStore:
    """Tables under one URI, each partitioned by the string column `partition`.

    Every write is one commit: a reader sees all of it or nothing, and writing again what was
    written changes no row. Writers of the same partition wait for each other and the last wins.
    """

    root: str
    storage_options: Mapping[str, str] = field(default_factory=dict)

    def uri(self, table: str) -> str:
        return f"{self.root.rstrip('/')}/{table}"

    def overwrite(self, table: str, frame: pd.DataFrame, partitions: Sequence[str]) -> int:
        """Replace `partitions` by the rows of `frame`, in one commit; return the table's version.

        `frame` has a column `partition` with no value outside `partitions`.
        Raises ValueError where a column's type differs from the table's.
        """
        strangers = set(frame[PARTITION]) - set(partitions)
        if strangers:
            raise ValueError(f"{table}: rows of partitions {sorted(strangers)} are not announced")
        return self._commit(table, frame, predicate=_predicate(partitions))

    def read(
        self,
        table: str,
        partitions: Sequence[str] | None = None,
        columns: Sequence[str] | None = None,
        version: int | None = None,
    ) -> pd.DataFrame:
        """Rows of the given partitions (None: all), in no particular order.

        Raises MissingDataError where the table does not exist or lacks one of the partitions.
        """
        delta = self._open(table, version)
        if partitions is not None:
            self._require(table, partitions, delta)
        filters = None if partitions is None else [(PARTITION, "in", list(partitions))]
        names = None if columns is None else list(columns)
        return _pandas(delta.to_pyarrow_table(filters=filters, columns=names))

    def exists(self, table: str) -> bool:
        from deltalake import DeltaTable

        return bool(DeltaTable.is_deltatable(self.uri(table), dict(self.storage_options)))

    def partitions(self, table: str, version: int | None = None) -> set[str]:
        """Keys of the partitions that hold rows; none where the table does not exist."""
        if not self.exists(table):
            return set()
        return _partitions(self._open(table, version))

    def version(self, table: str) -> int:
        return int(self._open(table).version())

    def _open(self, table: str, version: int | None = None) -> DeltaTable:
        from deltalake import DeltaTable
        from deltalake.exceptions import TableNotFoundError

        try:
            return DeltaTable(
                self.uri(table), version=version, storage_options=dict(self.storage_options)
            )
        except TableNotFoundError:
            raise MissingDataError(
                f"table {table} does not exist yet; materialise {table.replace('/', ' / ')} first"
            ) from None

    def _require(self, table: str, partitions: Sequence[str], delta: DeltaTable) -> None:
        missing = sorted(set(partitions) - _partitions(delta))
        if missing:
            shown = ", ".join(missing[:5]) + (", …" if len(missing) > 5 else "")
            raise MissingDataError(
                f"table {table} lacks {len(missing)} partitions: {shown}; materialise them first"
            )

    def _commit(self, table: str, frame: pd.DataFrame, predicate: str) -> int:
        from deltalake.exceptions import CommitFailedError
        from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random

        # Overwriting is idempotent, so losing a race means: read the table again and overwrite.
        retrying = Retrying(
            retry=retry_if_exception_type(CommitFailedError),
            stop=stop_after_attempt(CONFLICT_RETRIES),
            wait=wait_random(0.05, 0.5),
            reraise=True,
        )
        retrying(self._write, table, frame, predicate)
        return self.version(table)

    def _write(self, table: str, frame: pd.DataFrame, predicate: str) -> None:
        from deltalake import write_deltalake

        exists = self.exists(table)
        stored = _stored_types(self._open(table)) if exists else {}
        data = _arrow(frame, stored)
        _check_types(table, data, stored)
        options: dict[str, Any] = {"predicate": predicate, "schema_mode": "merge"} if exists else {}
        write_deltalake(
            self.uri(table),
            data,
            mode="overwrite" if exists else "error",
            partition_by=[PARTITION],
            storage_options=dict(self.storage_options),
            **options,
        )


def content_hash(frame: pd.DataFrame, key: Sequence[str]) -> str:
    """Names the rows of a frame, whatever their order: 16 hexadecimal digits."""
    from pandas.util import hash_pandas_object

    names = sorted(frame.columns)
    rows = _pandas(_arrow(frame.sort_values(list(key))[names], {}))
    digest = hashlib.sha256(",".join(f"{n}:{rows[n].dtype}" for n in names).encode())
    digest.update(hash_pandas_object(rows, index=False).to_numpy().tobytes())
    return digest.hexdigest()[:16]


def partition_hashes(frame: pd.DataFrame, key: Sequence[str]) -> dict[str, str]:
    """The content hash of each partition of a frame."""
    return {
        str(name): content_hash(rows.drop(columns=PARTITION), key)
        for name, rows in frame.groupby(PARTITION)
    }


def combined(hashes: Mapping[str, str]) -> str:
    """One hash for many partitions."""
    return hashlib.sha256(repr(sorted(hashes.items())).encode()).hexdigest()[:16]


def _arrow(frame: pd.DataFrame, stored: Mapping[str, pa.DataType]) -> pa.Table:
    """The frame as Arrow; a column without any value takes the type that is stored, or text."""
    import pyarrow as pa

    data = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
    fields = [
        f.with_type(stored.get(f.name, pa.string())) if pa.types.is_null(f.type) else f
        for f in data.schema
    ]
    return data.cast(pa.schema(fields))


def _pandas(data: pa.Table) -> pd.DataFrame:
    """Arrow as pandas, in types that hold missing values, so that a round trip changes none."""
    import pandas as pd
    import pyarrow as pa

    nullable = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}
    return data.to_pandas(types_mapper=nullable.get)


def _stored_types(delta: DeltaTable) -> dict[str, pa.DataType]:
    import pyarrow as pa

    return {f.name: f.type for f in pa.schema(delta.schema())}


def _partitions(delta: DeltaTable) -> set[str]:
    return {found[PARTITION] for found in delta.partitions()}


def _predicate(partitions: Sequence[str]) -> str:
    quoted = ", ".join(f"'{partition}'" for partition in partitions)
    return f"{PARTITION} IN ({quoted})"


def _check_types(table: str, data: pa.Table, stored: Mapping[str, pa.DataType]) -> None:
    changed = [
        f"{f.name}: {stored[f.name]} became {f.type}"
        for f in data.schema
        if f.name in stored and stored[f.name] != f.type
    ]
    if changed:
        raise ValueError(f"table {table}: a column's type may not change ({'; '.join(changed)})")
