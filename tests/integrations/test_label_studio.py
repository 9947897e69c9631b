from __future__ import annotations

from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from samner.errors import DataError, SamnerError
from samner.integrations.label_studio import Interface, router, version
from samner.task_model import TaskModel

CONFIG = """<View>
  <!-- spans of a text -->
  <Labels name="ner" toName="note">
    <Label value="Drug" background="red"/>
    <Label value="PERSON" hint="a human being"/>
    <Label value="person"/>
    <Label value="River" hint="running water"/>
  </Labels>
  <Text name="note" value="$body"/>
</View>"""
TEXT = "Ada Moreno takes Aspirin"


@pytest.fixture
def client(model: TaskModel) -> TestClient:
    app = FastAPI()
    app.include_router(router({"mine": model, "other": model}), prefix="/ls")
    return TestClient(app)


def test_label_studio_connects(client: TestClient, model: TaskModel) -> None:
    assert client.get("/ls/health").json() == {"status": "UP", "model_class": "samner", "model": "mine"}
    assert client.get("/ls/other/health").json()["model"] == "other"
    sent = {"project": "3.1700000000", "schema": CONFIG, "extra_params": None, "hostname": "", "access_token": ""}
    answer = client.post("/ls/setup", json=sent)
    assert answer.json() == {"model_version": version("mine", model)}
    assert version("mine", model).startswith("mine-")
    model.threshold = 0.6
    assert client.post("/ls/setup", json=sent).json() != answer.json()


@pytest.mark.filterwarnings("ignore:the merge was chosen for")
def test_tasks_are_annotated_in_the_words_of_the_interface(client: TestClient) -> None:
    tasks = [{"id": 1, "data": {"body": TEXT}}, {"id": 2, "data": {"body": "Nothing."}}]
    sent = {"tasks": tasks, "project": "3.17", "label_config": CONFIG, "params": {"login": None, "context": None}}
    answer = client.post("/ls/predict", json=sent).json()["results"]
    assert answer[0]["result"][1] == {
        "id": "e1",
        "from_name": "ner",
        "to_name": "note",
        "type": "labels",
        "value": {"start": 17, "end": 24, "text": "Aspirin", "labels": ["Drug"]},
        "score": 0.8,
    }
    assert answer[0]["result"][0]["value"]["labels"] == ["PERSON"]
    assert answer[0]["score"] == 0.85 and answer[0]["model_version"].startswith("mine-")
    assert answer[1] == {"model_version": answer[0]["model_version"], "score": 0.0, "result": []}


@pytest.mark.filterwarnings("ignore:the merge was chosen for")
def test_label_studios_own_reader_takes_the_predictions(client: TestClient) -> None:
    reader = pytest.importorskip("label_studio_sdk.label_interface")
    tasks = [{"data": {"body": TEXT}}, {"data": {"body": "Nothing."}}]
    answer = client.post("/ls/predict", json={"tasks": tasks, "label_config": CONFIG}).json()["results"]
    assert [reader.LabelInterface(CONFIG).validate_prediction(one, return_errors=True) for one in answer] == [[], []]


def test_without_an_interface_the_models_own_labels_are_looked_for(client: TestClient) -> None:
    answer = client.post("/ls/other/predict", json={"tasks": [{"data": {"text": TEXT}}]}).json()["results"]
    assert [result["value"]["labels"] for result in answer[0]["result"]] == [["person"], ["drug"]]


@pytest.mark.parametrize(
    ("path", "sent", "status", "message"),
    [
        ("/ls/third/predict", {"tasks": []}, 404, "there is no model 'third'; there are: mine, other"),
        ("/ls/predict", {"tasks": [{"id": 9, "data": {"text": 3}}]}, 422, "task 9: data has no text under 'text'"),
        ("/ls/predict", {"tasks": [{"data": None}]}, 422, "task 1: data has no text"),
        ("/ls/predict", {"tasks": [], "label_config": "<View>"}, 422, "not valid XML"),
        ("/ls/setup", {"schema": "<View><Choices/></View>"}, 422, 'needs <Labels toName="...">'),
        ("/ls/predict", {}, 422, "tasks"),
    ],
)
def test_what_cannot_be_answered(
    client: TestClient, path: str, sent: dict[str, Any], status: int, message: str
) -> None:
    answer = client.post(path, json=sent)
    assert answer.status_code == status and message in str(answer.json()["detail"])


def test_an_interface_cannot_define_entities() -> None:
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaa">]><View>&a;</View>'
    with pytest.raises(DataError, match="entities of XML, which are not read"):
        Interface.read(bomb)
    with pytest.raises(SamnerError, match="needs a model"):
        router({})


def test_half_of_a_surrogate_pair_is_no_fault(client: TestClient) -> None:
    with pytest.raises(DataError, match="not valid XML"):
        Interface.read("<View name='\ud800'/>")
    for task, message in (
        (rb'{"id": "\ud800", "data": {}}', r"task '\ud800': data has no text under 'text'"),
        (rb'{"data": {"text": "Aspi\ud800rin"}}', "task 1: the text holds half of a surrogate pair"),
    ):
        sent = b'{"tasks": [' + task + b"]}"
        answer = client.post("/ls/predict", content=sent, headers={"Content-Type": "application/json"})
        assert answer.status_code == 422 and answer.json()["detail"].startswith(message)
