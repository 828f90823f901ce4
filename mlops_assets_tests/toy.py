"""A small use case for tests: will a parcel be late? Sixty parcels a day, known by a formula."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from mlops_assets.use_cases import Column, ModelFamily, Rule, UseCase, register

ROWS_A_DAY = 60
DEPOTS = ("north", "south", "west")


def fetch(start: datetime, end: datetime) -> pd.DataFrame:
    """Parcels handed in from `start` to `end`: the same rows whenever they are asked for."""
    days = pd.date_range(start, end, inclusive="left", freq="D")
    frames = [_day(day) for day in days]
    return pd.concat(frames, ignore_index=True) if frames else _day(pd.Timestamp(start)).iloc[:0]


def _day(day: pd.Timestamp) -> pd.DataFrame:
    random = np.random.default_rng(day.year * 1000 + day.dayofyear)
    minutes = np.sort(random.choice(24 * 60, ROWS_A_DAY, replace=False))
    event_time = day.tz_convert("UTC") + pd.to_timedelta(minutes, unit="min")
    distance = random.gamma(2.0, 40.0, ROWS_A_DAY)
    weight = random.uniform(0.1, 20.0, ROWS_A_DAY)
    depot = random.choice(DEPOTS, ROWS_A_DAY)
    logit = 0.03 * (distance - 80) + 0.1 * (weight - 10) + np.where(depot == "north", 1.0, -0.5)
    late = random.random(ROWS_A_DAY) < 1 / (1 + np.exp(-logit))
    return pd.DataFrame(
        {
            "parcel": [f"{day:%Y%m%d}-{n}" for n in range(ROWS_A_DAY)],
            "handed_in_at": event_time,
            "promised_at": event_time - pd.Timedelta(hours=1),
            "delivered_at": event_time + pd.Timedelta(hours=20),
            "distance": distance,
            "weight": weight,
            "depot": depot,
            "late": late.astype("int64"),
        }
    )


def compute_features(rows: pd.DataFrame, history: pd.DataFrame) -> pd.DataFrame:
    """The parcel itself, and how many parcels its depot delivered late the day before."""
    known = history.sort_values("delivered_at")[["delivered_at", "depot", "late"]]
    asked = rows[["promised_at", "depot"]].rename_axis("row").reset_index()
    recent = [_late_share(known, asked[asked["depot"] == depot], depot) for depot in DEPOTS]
    late_share = pd.concat(recent).reindex(rows.index)
    return rows[["distance", "weight", "depot"]].assign(late_share=late_share)


def _late_share(known: pd.DataFrame, asked: pd.DataFrame, depot: str) -> pd.Series:
    mine = known[(known["depot"] == depot) & known["late"].notna()].dropna(subset="delivered_at")
    late = np.concatenate([[0.0], mine["late"].astype("float64").cumsum()])
    until = mine["delivered_at"].searchsorted(asked["promised_at"], side="right")
    since = mine["delivered_at"].searchsorted(
        asked["promised_at"] - pd.Timedelta(days=1), side="right"
    )
    share = (late[until] - late[since]) / np.maximum(until - since, 1)
    return pd.Series(share, index=asked["row"])


def _linear(params: Mapping[str, Any], seed: int) -> Any:
    return _pipeline(LogisticRegression(C=params["C"], random_state=seed))


def _tree(params: Mapping[str, Any], seed: int) -> Any:
    return _pipeline(DecisionTreeClassifier(max_depth=params["max_depth"], random_state=seed))


def _pipeline(model: Any) -> Any:
    columns = make_column_transformer(
        (StandardScaler(), ["distance", "weight", "late_share"]),
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["depot"]),
    )
    return make_pipeline(columns, model)


TOY = register(
    UseCase(
        name="parcels",
        description="Will a parcel arrive late? For the customers who ask when they hand it in.",
        owners=("team:parcels",),
        kind="classification",
        start=date(2024, 1, 1),
        end=date(2024, 4, 1),
        fetch=fetch,
        contract=(
            Column(name="parcel", dtype="str", description="Number of the parcel."),
            Column(name="handed_in_at", dtype="timestamp", description="Handed in."),
            Column(name="promised_at", dtype="timestamp", description="Asked when it arrives."),
            Column(
                name="delivered_at",
                dtype="timestamp",
                description="Delivered.",
                nullable=True,
                known_at="delivered_at",
            ),
            Column(name="distance", dtype="float", description="Way to go.", unit="km", min=0),
            Column(name="weight", dtype="float", description="Weight.", unit="kg", min=0, max=50),
            Column(name="depot", dtype="str", description="Depot.", allowed=DEPOTS),
            Column(
                name="late",
                dtype="int",
                description="Delivered after the promised day.",
                nullable=True,
                min=0,
                max=1,
                known_at="delivered_at",
            ),
        ),
        key=("parcel",),
        event_time="handed_in_at",
        prediction_time="promised_at",
        label="late",
        label_delay=timedelta(days=1),
        features=(
            Column(name="distance", dtype="float", description="Way.", unit="km", min=0),
            Column(name="weight", dtype="float", description="Weight.", unit="kg", min=0, max=50),
            Column(name="depot", dtype="str", description="Depot.", allowed=DEPOTS),
            Column(
                name="late_share",
                dtype="float",
                description="Share of the depot's parcels delivered late in the last day.",
                min=0,
                max=1,
            ),
        ),
        compute_features=compute_features,
        history=timedelta(days=3),
        families=(
            ModelFamily(
                "linear", lambda t: {"C": t.suggest_float("C", 0.1, 10, log=True)}, _linear
            ),
            ModelFamily("tree", lambda t: {"max_depth": t.suggest_int("max_depth", 2, 4)}, _tree),
        ),
        objective="log_loss",
        metrics=("log_loss", "roc_auc", "brier"),
        slices=("depot",),
        gate=(
            Rule(metric="log_loss", against="champion"),
            Rule(metric="log_loss", against="dummy"),
            Rule(metric="roc_auc", against="absolute", threshold=0.6),
        ),
        trials=2,
        train_window=timedelta(weeks=4),
        holdout=timedelta(weeks=1),
        min_training_rows=500,
    )
)


def variant(name: str, **changes: Any) -> UseCase:
    """The toy under another name with some fields changed, known to workers of this process."""
    return register(replace(TOY, name=name, **changes))
