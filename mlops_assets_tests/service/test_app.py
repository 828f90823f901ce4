"""The application by itself: who may ask, what is refused, what is answered."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from mlops_assets.service import log, scoring
from mlops_assets.service.app import create_app
from mlops_assets.service.bundle import GOLDEN, MODEL, Bundle, ModelMismatchError
from mlops_assets.service.settings import Settings

from .conftest import ROW, Toy


@contextmanager
def client(toy: Toy, **settings: Any) -> Iterator[TestClient]:
    with TestClient(create_app(toy.bundle, Settings(**settings))) as asked:
        yield asked


@pytest.fixture(scope="module")
def asked(toy: Toy) -> Iterator[TestClient]:
    with client(toy, max_rows=3, max_bytes=2_000) as asked:
        yield asked


def test_answers_with_score_version_key_and_request_id(asked: TestClient) -> None:
    answer = asked.post("/predict", json=ROW | {"flight": "UA 1"}, headers={"X-Request-ID": "a-1"})
    assert answer.status_code == 200
    body = answer.json()
    assert 0 <= body.pop("score") <= 1
    key = {"flight": "UA 1", "origin": "JFK"}
    assert body == {"request_id": "a-1", "model_version": "7", "key": key}
    assert answer.headers["X-Request-ID"] == "a-1"


@pytest.mark.parametrize("sent", ["", "x" * 129, "a b", "a\n", '"><script>', "é"])
def test_replaces_a_request_id_that_is_not_sane(asked: TestClient, sent: str) -> None:
    headers = {"X-Request-ID": sent.encode("latin-1")}
    request_id = asked.post("/predict", json=ROW, headers=headers).json()["request_id"]
    assert str(uuid.UUID(request_id)) == request_id


def test_answers_a_batch_in_the_order_of_its_rows(asked: TestClient) -> None:
    rows = [ROW | {"distance": distance, "flight": str(distance)} for distance in (0, 2_500, 5_000)]
    predictions = asked.post("/predict_batch", json={"rows": rows}).json()["predictions"]
    assert [prediction["key"]["flight"] for prediction in predictions] == ["0", "2500", "5000"]
    alone = [asked.post("/predict", json=row).json()["score"] for row in rows]
    assert [prediction["score"] for prediction in predictions] == pytest.approx(alone, rel=1e-12)
    assert len(set(alone)) == 3


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ('{"distance": -1}', "distance"),
        ('{"distance": 1e400}', "distance"),
        ('{"humid": NaN}', "humid"),
        ('{"humid": Infinity}', "humid"),
        ('{"humid": 1e400}', "humid"),
        ('{"class": 3}', "class"),
        ('{"unknown": 3}', "unknown"),
    ],
)
def test_names_the_field(asked: TestClient, body: str, field: str) -> None:
    text = json.dumps(ROW)[:-1] + "," + body[1:]
    answer = asked.post("/predict", content=text, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert [problem["field"] for problem in answer.json()["fields"]] == [field]


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"null", b"[" * 1_500, b"\xff", b'{"class": "\\ud800"}', b'{"n": 1' + b"0" * 1_500],
)
def test_refuses_what_is_no_row(asked: TestClient, body: bytes) -> None:
    answer = asked.post("/predict", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert answer.json()["error"]


def test_names_the_row_of_a_batch_and_limits_rows(asked: TestClient) -> None:
    answer = asked.post("/predict_batch", json={"rows": [ROW, ROW | {"night": "no"}]})
    assert [problem["field"] for problem in answer.json()["fields"]] == ["rows.1.night"]
    answer = asked.post("/predict_batch", json={"rows": [ROW] * 4})
    assert answer.status_code == 422
    assert answer.json()["fields"][0]["field"] == "rows"


@pytest.mark.parametrize("chunked", [False, True])
def test_limits_the_body(asked: TestClient, chunked: bool) -> None:
    body = json.dumps(ROW | {"class": "x" * 2_000}).encode()
    pieces = (body[n : n + 100] for n in range(0, len(body), 100))
    answer = asked.post(
        "/predict",
        content=pieces if chunked else body,
        headers={"Content-Type": "application/json"},
    )
    assert answer.status_code == 413


def test_takes_json_only(asked: TestClient) -> None:
    answer = asked.post("/predict", content=json.dumps(ROW), headers={"Content-Type": "text/plain"})
    assert answer.status_code == 415


def test_a_row_the_model_cannot_score_is_the_clients_mistake(
    toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unscorable(rows: Any) -> Any:
        raise scoring.UnscorableError("the model gives this no finite score")

    monkeypatch.setattr(scoring, "load", lambda bundle: unscorable)
    with client(toy) as asked:
        answer = asked.post("/predict", json=ROW)
    assert answer.status_code == 422
    assert "finite" in answer.json()["error"]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (None, 401),
        (b"Bearer wrong", 401),
        (b"Bearer s\xe9cret", 401),
        (b"Basic secret", 401),
        (b"Bearer secret", 200),
    ],
)
def test_asks_for_the_token(toy: Toy, sent: bytes | None, status: int) -> None:
    headers = {} if sent is None else {"Authorization": sent}
    with client(toy, token="secret") as asked:
        answer = asked.post("/predict", json=ROW, headers=headers)
        assert asked.get("/openapi.json").status_code == 200
    assert answer.status_code == status
    if status == 401:
        assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_the_token_is_asked_for_before_the_body_is_read(toy: Toy) -> None:
    with client(toy, token="secret", max_bytes=10) as asked:
        assert asked.post("/predict", json=ROW).status_code == 401


def test_logs_every_row_it_answers(toy: Toy, tmp_path: Path) -> None:
    with client(toy, prediction_log=tmp_path) as asked:
        one = asked.post("/predict", json=ROW | {"flight": "UA 1"}).json()
        two = asked.post("/predict_batch", json={"rows": [ROW, ROW | {"distance": 7}]}).json()
        assert asked.post("/predict", json={}).status_code == 422
    (segment,) = tmp_path.iterdir()
    records = [record for record, _ in log.read(segment)]
    assert [record["request_id"] for record in records] == [
        one["request_id"],
        two["request_id"],
        two["request_id"],
    ]
    assert [record["index"] for record in records] == [0, 0, 1]
    assert [record["row"] for record in records] == [
        ROW | {"flight": "UA 1"},
        ROW,
        ROW | {"distance": 7},
    ]
    scores = [one["score"], *(prediction["score"] for prediction in two["predictions"])]
    assert [record["score"] for record in records] == scores
    assert {record["model_version"] for record in records} == {"7"}


def test_gives_no_answer_it_cannot_log(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with client(toy, prediction_log=tmp_path, flush_ms=1) as asked:
        monkeypatch.setattr(log.PredictionLog, "offer", lambda self, records: False)
        answer = asked.post("/predict", json=ROW)
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "1"
    assert "score" not in answer.json()


def changed(toy: Toy, root: Path, **files: bytes) -> Bundle:
    for name, data in {**toy.files, **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return Bundle(root)


def test_refuses_a_model_that_was_changed(toy: Toy, tmp_path: Path) -> None:
    bundle = changed(toy, tmp_path, **{MODEL: toy.files[MODEL] + b"\0"})
    with pytest.raises(ModelMismatchError, match="changed after the build"):
        create_app(bundle, Settings())


def test_refuses_a_model_that_scores_otherwise_than_approved(toy: Toy, tmp_path: Path) -> None:
    golden = json.loads(toy.files[GOLDEN])
    golden["scores"][0] += 1e-3
    bundle = changed(toy, tmp_path, **{GOLDEN: json.dumps(golden).encode()})
    with (
        pytest.raises(ModelMismatchError, match="golden request"),
        TestClient(create_app(bundle, Settings())),
    ):
        pass


@pytest.mark.parametrize("text", ["0", "-1", "many", ""])
def test_a_wrong_setting_is_named(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("MLOPS_SERVICE_MAX_ROWS", text)
    with pytest.raises(ValueError, match="MLOPS_SERVICE_MAX_ROWS"):
        Settings.from_environment()


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLOPS_SERVICE_TOKEN", "secret")
    monkeypatch.setenv("MLOPS_PREDICTION_LOG", "/log")
    monkeypatch.setenv("MLOPS_SERVICE_WORKERS", "2")
    expected = Settings(token="secret", prediction_log=Path("/log"), workers=2)
    assert Settings.from_environment() == expected
