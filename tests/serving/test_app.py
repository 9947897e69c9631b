from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from samner.pool import ExpertPool
from tests.serving.conftest import Ward

Serving = Callable[..., TestClient]

ASPIRIN = {
    "start": 0,
    "end": 7,
    "label": "drug",
    "text": "Aspirin",
    "score": 0.9,
    "found_by": ["similarity", "sampling"],
}


def problem(response: Any) -> tuple[int, str, str | None]:
    """Status, message and field of an answer that is no success."""
    error = response.json()["error"]
    assert set(error) == {"message", "field"}
    return response.status_code, error["message"], error["field"]


def ended(client: TestClient, job: str) -> dict[str, Any]:
    for _ in range(1200):
        shown = client.get(f"/v1/adapt/{job}").json()
        if shown["status"] not in ("waiting", "running"):
            return shown
        time.sleep(0.05)
    raise AssertionError("the job did not end")


class TestExtract:
    def test_the_entities_of_each_text_come_in_their_order(self, serving: Serving) -> None:
        answer = serving().post("/v1/extract", json={"texts": ["Aspirin eases headache", "", "nothing"]})
        assert answer.status_code == 200
        body = answer.json()
        assert body["model"] == "known"
        assert [[e["text"] for e in one["entities"]] for one in body["results"]] == [["Aspirin", "headache"], [], []]
        assert body["results"][0]["entities"][0] == ASPIRIN

    def test_labels_thresholds_and_mode_can_be_others(self, serving: Serving) -> None:
        client = serving()

        def labels(**asked: Any) -> list[str]:
            results = client.post("/v1/extract", json={"texts": ["Aspirin headache York"], **asked}).json()["results"]
            return [e["label"] for e in results[0]["entities"]]

        assert labels() == ["drug", "disease", "city"]
        assert labels(labels=["city", {"name": "drug", "description": "a medicine"}]) == ["drug", "city"]
        assert labels(threshold=0.65) == ["drug", "city"]
        own = ["drug", {"name": "disease", "threshold": 0.55}, {"name": "city", "threshold": 0.75}]
        assert labels(labels=own, threshold=0.95) == ["disease"]
        assert labels(labels=[{"name": " drug ", "threshold": 0.95}, "city"]) == ["city"]
        assert labels(mode="intersection") == ["drug", "disease"]

    @pytest.mark.parametrize(
        ("asked", "field", "message"),
        [
            ({}, "texts", "field required"),
            ({"texts": "Aspirin"}, "texts", "list"),
            ({"texts": ["a", 3]}, "texts[1]", "string"),
            ({"texts": ["a", "\ud800"]}, "texts[1]", "half of a surrogate pair"),
            ({"texts": ["a"], "labels": []}, "labels", "1 to 3 labels"),
            ({"texts": ["a"], "labels": ["a", " "]}, "labels[1]", "not blank"),
            ({"texts": ["a"], "labels": ["a", "a"]}, "labels[1]", "given twice"),
            ({"texts": ["a"], "labels": ["a", "b", "c", "d"]}, "labels", "not 4"),
            ({"texts": ["a"], "labels": [{"name": "a", "threshold": 2}]}, "labels[0].threshold", "less than 1"),
            ({"texts": ["a"], "labels": [{"nam": "a"}]}, "labels[0].name", "required"),
            ({"texts": ["a"], "threshold": "0.5"}, "threshold", "number"),
            ({"texts": ["a"], "treshold": 0.5}, "treshold", "no such field"),
            ({"texts": ["a"], "mode": "economy"}, "mode", "union, intersection, similarity, sampling"),
            ({"texts": ["a"] * 5}, "texts", "more than 4"),
            ({"texts": ["a" * 101]}, "texts", "over 100"),
            ({"texts": ["a", "b" * 51]}, "texts[1]", "the text has 51 characters, over 50; cut it"),
        ],
    )
    def test_what_is_wrong_is_named_by_its_field(self, serving: Serving, asked: Any, field: str, message: str) -> None:
        client = serving(texts=4, characters=100, text=50, labels=3)
        response = client.post("/v1/extract", content=json.dumps(asked), headers={"content-type": "application/json"})
        status, said, at = problem(response)
        assert (status, at) == (422, field)
        assert message in said and "Aspirin" not in said

    def test_an_unknown_model_and_path_are_said(self, serving: Serving) -> None:
        client = serving()
        status, said, field = problem(client.post("/v1/extract", json={"texts": ["a"], "model": "no"}))
        assert (status, said, field) == (404, "there is no model 'no'; there is: known", "model")
        assert problem(client.get("/v1/nothing"))[0] == 404
        assert problem(client.get("/v1/extract"))[0] == 405

    def test_an_unknown_parameter_of_a_query_is_not_passed_over(self, serving: Serving) -> None:
        client = serving()
        assert client.get("/health/live?probe=1").is_success
        there = "there are model, label, threshold, overlaps, mode"
        assert problem(client.post("/v1/extract/stream?label=city&labels=drug", content='"Aspirin"')) == (
            *(422, f"there is no such parameter in a query; {there}"),
            "labels",
        )
        asked = {"texts": ["Aspirin"]}
        assert problem(client.post("/v1/extract?threshold=0.9", json=asked))[::2] == (422, "threshold")
        assert "this path takes none" in problem(client.get("/v1/adapt?status=done"))[1]
        assert client.get("/health/live?from=balancer").status_code == 200

    def test_a_body_that_is_no_json_object_is_refused(self, serving: Serving) -> None:
        client = serving()
        json_type = {"content-type": "application/json"}
        for content, headers in (
            (b"{", json_type),
            (b"3", json_type),
            (b'{"texts": ["a"]}', {"content-type": "text/plain"}),
            (b'{"texts": ["\xff"]}', json_type),
            (b"[" * 100_000, json_type),
        ):
            assert problem(client.post("/v1/extract", content=content, headers=headers))[0] == 422
        packed = gzip.compress(b'{"texts": ["a"]}')
        headers = {**json_type, "content-encoding": "gzip"}
        said = "the body is not usable JSON; it must be UTF-8, and not compressed"
        assert problem(client.post("/v1/extract", content=packed, headers=headers)) == (422, said, None)

    def test_a_fault_is_told_without_its_inside_and_the_next_request_does(self, serving: Serving) -> None:
        client = serving()
        assert problem(client.post("/v1/extract", json={"texts": ["cursed"]})) == (
            500,
            "a fault in samner; the server's log has it",
            None,
        )
        assert client.post("/v1/extract", json={"texts": ["Aspirin"]}).status_code == 200


class TestLimits:
    def test_a_long_body_is_refused_said_or_not(self, serving: Serving) -> None:
        client = serving(body=100)
        for content in (b"x" * 101, iter([b"x" * 60, b"x" * 60])):
            assert problem(client.post("/v1/extract", content=content))[:2] == (
                413,
                "the body is longer than 100 bytes; send fewer texts at a time",
            )

    def test_more_requests_than_may_be_are_told_when_to_come_again(self, serving: Serving, ward: Ward) -> None:
        client = serving(requests=2)
        ward.seconds = 0.5
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: client.post("/v1/extract", json={"texts": ["Aspirin"]}), range(6)))
        refused = [answer for answer in answers if answer.status_code == 429]
        assert len(refused) == 4 and all(answer.headers["retry-after"] == "1" for answer in refused)
        assert client.get("/health/ready").status_code == 200
        assert client.post("/v1/extract", json={"texts": ["Aspirin"]}).status_code == 200

    def test_an_answer_is_not_waited_for_for_ever(self, serving: Serving, ward: Ward) -> None:
        client = serving(seconds=0.05)
        ward.seconds = 0.3
        assert problem(client.post("/v1/extract", json={"texts": ["Aspirin"]}))[:2] == (
            504,
            "no answer within 0.05 s; send fewer texts at a time",
        )
        ward.seconds = 0
        time.sleep(0.3)
        assert client.post("/v1/extract", json={"texts": ["Aspirin"]}).status_code == 200


class TestStream:
    def test_a_line_each_with_what_else_was_known(self, serving: Serving) -> None:
        lines = ['{"text": "Aspirin", "id": 7, "entities": []}', "", '"nothing"']
        answer = serving().post("/v1/extract/stream", content="\n".join(lines))
        assert answer.headers["content-type"] == "application/x-ndjson"
        first, second = map(json.loads, answer.text.splitlines())
        assert first == {"text": "Aspirin", "id": 7, "entities": [ASPIRIN]}
        assert second == {"text": "nothing", "entities": []}

    def test_settings_stand_in_the_address(self, serving: Serving) -> None:
        client = serving()
        query = {"label": ["city", "disease: an illness"], "threshold": 0.65, "model": "known"}
        answer = client.post("/v1/extract/stream", params=query, content='"Aspirin headache York"')
        assert [e["label"] for e in json.loads(answer.text)["entities"]] == ["city"]
        assert problem(client.post("/v1/extract/stream?label=a&label=a", content='"x"'))[2] == "label[1]"

    def test_many_texts_are_read_in_batches(self, serving: Serving, ward: Ward) -> None:
        answer = serving(texts=4).post("/v1/extract/stream", content='"Aspirin"\n' * 500)
        assert len(answer.text.splitlines()) == 500
        assert max(map(len, ward.batches)) == 64

    @pytest.mark.parametrize(
        ("lines", "field", "message"),
        [
            ('"a"\n{"text": 3}', "line 2", "must be a string"),
            ('"a"\n\n{', "line 3", "is no JSON"),
            ('{"txt": "a"}', "line 1", '"text"'),
            (f'"{"a" * 101}"', "line 1", "101 characters"),
            ("\n", None, "no lines"),
        ],
    )
    def test_a_wrong_line_is_named_before_anything_is_answered(
        self, serving: Serving, lines: str, field: str | None, message: str
    ) -> None:
        status, said, at = problem(serving(text=100).post("/v1/extract/stream", content=lines))
        assert (status, at) == (422, field) and message in said

    def test_what_goes_wrong_later_is_the_last_line(self, serving: Serving, ward: Ward) -> None:
        ward.seconds = 0.2
        answer = serving(seconds=0.05).post("/v1/extract/stream", content='"Aspirin"')
        assert "no answer within" in json.loads(answer.text)["error"]["message"]

    def test_a_fault_is_the_last_line_too_and_says_nothing_of_itself(self, serving: Serving) -> None:
        answer = serving().post("/v1/extract/stream", content='"cursed"')
        assert json.loads(answer.text)["error"]["message"] == "a fault in samner; the server's log has it"


class TestGuards:
    def test_a_token_is_asked_for_everywhere_but_for_health(self, serving: Serving) -> None:
        client = serving(tokens=["a-secret-of-some-length", "another-secret-of-it"])
        for headers in (
            {},
            {"authorization": "Bearer wrong"},
            {"authorization": "Basic OmE="},
            {"authorization": "x"},
        ):
            answer = client.get("/v1/models", headers=headers)
            assert problem(answer)[0] == 401 and answer.headers["www-authenticate"] == "Bearer"
        assert client.get("/metrics").status_code == 401
        assert client.get("/openapi.json").headers["www-authenticate"].startswith("Basic ")
        for token in ("a-secret-of-some-length", "another-secret-of-it"):
            assert client.get("/v1/models", headers={"authorization": f"Bearer {token}"}).status_code == 200
        assert client.get("/openapi.json", auth=("me", "another-secret-of-it")).status_code == 200
        assert client.get("/v1/models", auth=("me", "another-secret-of-it")).status_code == 401
        assert client.get("/health/live").status_code == 200

    def test_only_its_own_names_are_answered_to(self, serving: Serving) -> None:
        client = serving(hosts=["localhost", "::1"])
        assert client.get("/health/live", headers={"host": "localhost:8000"}).status_code == 200
        assert client.get("/health/live", headers={"host": "[::1]:8000"}).status_code == 200
        assert problem(client.get("/health/live", headers={"host": "evil.example"}))[0] == 421

    def test_no_other_site_is_let_in(self, serving: Serving) -> None:
        headers = {"origin": "https://evil.example", "access-control-request-method": "POST"}
        answer = serving().options("/v1/extract", headers=headers)
        assert not [name for name in answer.headers if name.startswith("access-control")]

    def test_nor_is_it_to_the_page(self, serving: Serving) -> None:
        pytest.importorskip("gradio", reason="the extra 'page' is not installed")
        client = serving(page=True)
        headers = {"origin": "https://evil.example", "host": "ner.example", "access-control-request-method": "POST"}
        for answer in (
            client.options("/gradio_api/queue/join", headers=headers),
            client.get("/", headers=headers),
            client.get("/config", headers=headers),
        ):
            assert not [name for name in answer.headers if name.startswith("access-control")]
        assert client.get("/").headers["content-security-policy"].startswith("default-src 'self';")
        assert "https://" not in client.get("/theme.css").text
        for path in ("/v1", "/v1/nothing", "/health", "/health/live/", "/metrics/", "/label-studio/known/predict"):
            assert problem(client.get(path))[0] == 404
        assert client.get("/health/live").json() == {"status": "alive"}
        assert client.get("/label-studio/known/health").json()["status"] == "UP"


class TestOperations:
    def test_metrics_count_requests_and_batches_but_hold_no_text(self, serving: Serving) -> None:
        client = serving()
        client.post("/v1/extract", json={"texts": ["Aspirin", "York"]})
        client.post("/v1/extract", json={"texts": 3})
        client.get("/some/path/of/a/stranger")
        client.request("ODD", "/v1/extract")
        lines = client.get("/metrics").text.splitlines()
        assert 'samner_requests_total{method="POST",route="/v1/extract",status="200"} 1.0' in lines
        assert 'samner_requests_total{method="POST",route="/v1/extract",status="422"} 1.0' in lines
        assert 'samner_requests_total{method="GET",route="other",status="404"} 1.0' in lines
        assert 'samner_texts_total{model="known"} 2.0' in lines
        assert "samner_batch_texts_sum 2.0" in lines and "samner_queue_texts 0.0" in lines
        assert not [line for line in lines if "Aspirin" in line or "stranger" in line or "ODD" in line]

    def test_health_and_models(self, serving: Serving) -> None:
        client = serving()
        assert client.get("/health/live").json() == {"status": "alive"}
        assert client.get("/health/ready").json() == {"status": "ready"}
        assert client.head("/health/live").status_code == client.head("/health/ready").status_code == 200
        [known] = client.get("/v1/models").json()["models"]
        assert known["name"] == "known" and known["modes"] == ["union", "intersection", "similarity", "sampling"]
        assert known["experts"] == {"similarity": ["medicine"], "sampling": ["news"]}

    def test_a_server_that_stops_is_not_ready(self, serving: Serving) -> None:
        client = serving()
        client.__exit__(None, None, None)
        assert client.get("/health/live").status_code == 200
        assert problem(client.get("/health/ready"))[0] == 503


TEXTS = ["Aspirin relieves headache within hours.", "Ada Moreno scored twice for Rovers on Sunday."]


@pytest.fixture(scope="module")
def pools(tiny_pool: Path) -> dict[str, ExpertPool]:
    return {"tiny": ExpertPool.load(tiny_pool)}


class TestAdapt:
    def test_a_job_makes_a_model_that_answers_under_its_name(
        self, serving: Serving, pools: dict[str, ExpertPool]
    ) -> None:
        client = serving(pools)
        asked = {"texts": TEXTS, "labels": ["drug", {"name": "person", "description": "a human"}], "name": "mine"}
        answer = client.post("/v1/adapt", json=asked | {"experts": 1})
        assert answer.status_code == 202 and answer.json()["pool"] == "tiny"
        job = answer.json()["id"]
        assert answer.headers["location"] == f"/v1/adapt/{job}"
        shown = ended(client, job)
        assert shown["status"] == "done" and shown["kept"] and shown["seconds"] > 0
        assert len(shown["result"]["selections"]["similarity"]["chosen"]) == 1
        assert TEXTS[0] not in json.dumps(shown)
        answer = client.post("/v1/extract", json={"texts": TEXTS, "model": "mine", "threshold": 0.01})
        assert answer.json()["results"][0]["entities"][0]["label"] in ("drug", "person")
        assert [m["name"] for m in client.get("/v1/models").json()["models"]] == ["known", "mine"]
        assert [j["id"] for j in client.get("/v1/adapt").json()["jobs"]] == [job]
        assert problem(client.post("/v1/adapt", json=asked))[::2] == (409, "name")
        assert not client.delete(f"/v1/adapt/{job}").json()["kept"]
        assert problem(client.post("/v1/extract", json={"texts": TEXTS, "model": "mine"}))[0] == 404

    def test_an_old_job_says_and_takes_nothing_of_a_later_model_of_its_name(
        self, serving: Serving, pools: dict[str, ExpertPool]
    ) -> None:
        client = serving(pools)
        jobs = []
        for _ in range(2):
            asked = {"texts": TEXTS, "labels": ["drug"], "name": "mine"}
            jobs.append(client.post("/v1/adapt", json=asked).json()["id"])
            assert ended(client, jobs[-1])["kept"]
            if len(jobs) == 1:
                client.delete(f"/v1/adapt/{jobs[0]}")
        assert not client.delete(f"/v1/adapt/{jobs[0]}").json()["kept"]
        assert client.get(f"/v1/adapt/{jobs[1]}").json()["kept"]
        assert client.post("/v1/extract", json={"texts": ["x"], "model": "mine"}).status_code == 200

    def test_of_more_models_than_are_kept_the_one_goes_that_was_not_asked(
        self, serving: Serving, pools: dict[str, ExpertPool]
    ) -> None:
        client = serving(pools, kept=2)
        for name in ("a", "b"):
            ended(
                client, client.post("/v1/adapt", json={"texts": TEXTS, "labels": ["drug"], "name": name}).json()["id"]
            )
        client.post("/v1/extract", json={"texts": ["x"], "model": "a"})
        ended(client, client.post("/v1/adapt", json={"texts": TEXTS, "labels": ["drug"], "name": "c"}).json()["id"])
        assert [m["name"] for m in client.get("/v1/models").json()["models"]] == ["known", "a", "c"]

    def test_jobs_are_cancelled_before_their_next_step_and_counted(
        self, serving: Serving, pools: dict[str, ExpertPool], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import threading

        import samner.serving.jobs as jobs

        at_work, go = threading.Event(), threading.Event()

        def adapt(*_: Any, on_step: Callable[[str], None], **__: Any) -> None:
            on_step("selecting experts")
            at_work.set()
            go.wait(10)
            on_step("merging")
            raise AssertionError("it went on")

        monkeypatch.setattr(jobs, "adapt", adapt)
        client = serving(pools, jobs=2)
        asked = {"texts": TEXTS, "labels": ["drug"]}
        running, waiting = (client.post("/v1/adapt", json=asked).json()["id"] for _ in range(2))
        assert at_work.wait(10)
        assert client.get(f"/v1/adapt/{running}").json()["step"] == "selecting experts"
        status, said, _ = problem(full := client.post("/v1/adapt", json=asked))
        assert (status, full.headers["retry-after"]) == (429, "10") and "2 jobs" in said
        assert client.delete(f"/v1/adapt/{waiting}").json()["status"] == "cancelled"
        client.delete(f"/v1/adapt/{running}")
        go.set()
        assert ended(client, running)["status"] == "cancelled"
        assert 'samner_jobs_total{status="cancelled"} 2.0' in client.get("/metrics").text.splitlines()

    def test_what_fails_is_told_by_the_job(
        self, serving: Serving, pools: dict[str, ExpertPool], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import samner.serving.jobs as jobs

        monkeypatch.setattr(jobs, "adapt", lambda *_, **__: 1 / 0)
        client = serving(pools)
        shown = ended(client, client.post("/v1/adapt", json={"texts": TEXTS, "labels": ["drug"]}).json()["id"])
        assert (shown["status"], shown["error"]) == ("failed", "a fault in samner; the server's log has it")

    @pytest.mark.parametrize(
        ("asked", "status", "field"),
        [
            ({"texts": []}, 422, "texts"),
            ({"texts": [" "]}, 422, "texts"),
            ({"labels": ["a", ""]}, 422, "labels[1]"),
            ({"labels": [{"name": "a", "threshold": 0.5}]}, 422, "labels[0].threshold"),
            ({"mode": "all"}, 422, "mode"),
            ({"experts": 0}, 422, "experts"),
            ({"exclude": ["no"]}, 422, "exclude[0]"),
            ({"name": "../x"}, 422, "name"),
            ({"pool": "no"}, 404, "pool"),
        ],
    )
    def test_what_cannot_be_adapted_is_refused_at_once(
        self, serving: Serving, pools: dict[str, ExpertPool], asked: Any, status: int, field: str
    ) -> None:
        answer = serving(pools).post("/v1/adapt", json={"texts": TEXTS, "labels": ["drug"], **asked})
        assert problem(answer)[::2] == (status, field)

    def test_all_that_a_field_takes_is_said(self, serving: Serving, pools: dict[str, ExpertPool]) -> None:
        answer = serving(pools).post("/v1/adapt", json={"texts": TEXTS, "labels": ["drug"], "experts": "x"})
        said = "input should be a valid integer, or input should be 'auto'"
        assert problem(answer) == (422, said, "experts")

    def test_a_server_without_pools_and_an_unknown_job_are_said(self, serving: Serving) -> None:
        client = serving()
        assert problem(client.post("/v1/adapt", json={"texts": TEXTS, "labels": ["drug"]}))[::2] == (404, "pool")
        assert problem(client.get("/v1/adapt/no"))[0] == 404
        assert problem(client.delete("/v1/adapt/no"))[0] == 404


class TestLabelStudio:
    def test_it_can_ask_the_models(self, serving: Serving) -> None:
        client = serving()
        assert client.get("/label-studio/health").json()["status"] == "UP"
        asked = tasks(["Aspirin eases headache"], ["drug"])
        (result,) = client.post("/label-studio/known/predict", json=asked).json()["results"]
        assert [found["value"]["text"] for found in result["result"]] == ["Aspirin"]
        said = problem(client.get("/label-studio/other/health"))
        assert said[0] == 404 and said[1].startswith("there is no model 'other'; there are: known")
        assert problem(client.get("/label-studio/other"))[1].startswith("there is nothing at this path")

    @pytest.mark.parametrize(
        ("limits", "notes", "labels", "field"),
        [
            ({"texts": 2}, ["a", "b", "c"], ["drug"], "tasks"),
            ({"text": 4}, ["a", "abcde"], ["drug"], "tasks[1]"),
            ({"characters": 4}, ["abc", "abc"], ["drug"], "tasks"),
            ({"labels": 1}, ["a"], ["drug", "city"], "label_config"),
        ],
    )
    def test_the_limits_are_those_of_the_api(
        self, serving: Serving, limits: dict[str, int], notes: list[str], labels: list[str], field: str
    ) -> None:
        answer = serving(**limits).post("/label-studio/predict", json=tasks(notes, labels))
        assert problem(answer)[::2] == (422, field)

    def test_its_texts_are_read_with_those_of_others(self, serving: Serving, ward: Ward) -> None:
        client = serving(requests=4)
        ward.seconds = 0.5
        asked = tasks(["Aspirin"], ["drug", "disease", "city"])
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: client.post("/label-studio/predict", json=asked), range(6)))
        assert sorted(answer.status_code for answer in answers) == [200] * 4 + [429] * 2
        assert max(map(len, ward.batches)) > 1

    def test_a_task_without_a_text_is_named(self, serving: Serving) -> None:
        asked = tasks(["Aspirin"], ["drug"]) | {"tasks": [{"id": 7, "data": {}}]}
        assert problem(serving().post("/label-studio/predict", json=asked))[:2] == (
            422,
            "task 7: data has no text under 'note'",
        )


def tasks(notes: list[str], labels: list[str]) -> dict[str, Any]:
    """What Label Studio sends to have some notes annotated."""
    named = "".join(f'<Label value="{label}"/>' for label in labels)
    config = f'<View><Labels name="l" toName="t">{named}</Labels><Text name="t" value="$note"/></View>'
    return {"tasks": [{"id": i, "data": {"note": note}} for i, note in enumerate(notes)], "label_config": config}
