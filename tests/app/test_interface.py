"""What the HTTP interface says of itself: complete, valid, and what its answers are."""

import pytest
from fastapi.testclient import TestClient

from tests.app.test_server import ANN, Service
from v2v.app.access import Tokens
from v2v.app.job_files import ROLES
from v2v.app.server import build_server
from v2v.pipeline.settings import EditSettings


@pytest.fixture(scope="module")
def document(tmp_path_factory):
    service = Service(tmp_path_factory.mktemp("service"))
    yield service.http.get("/openapi.json").json()
    service.store.close()


def test_every_operation_is_described(document):
    """Each has its errors, in the shape that they have, a body where it takes one, and needs a token, except /healthz."""
    for path, operations in document["paths"].items():
        assert "head" not in operations
        for method, operation in operations.items():
            answers = operation["responses"]
            assert "422" not in answers and {"200", "500", "503"} <= set(answers), path
            assert all(answer["content"] for answer in answers.values())
            takes_body = method == "post" and not path.endswith("/cancel")
            assert ("requestBody" in operation) == takes_body, path
            if path != "/healthz":
                assert operation["security"] == [{"token": []}] and {"401", "403"} <= set(answers)
    assert document["components"]["securitySchemes"]["token"]["scheme"] == "bearer"


def test_the_form_of_a_job_has_every_field(document):
    body = document["paths"]["/v1/videos"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    fields = set(body["properties"])
    assert {
        "prompt",
        "clip",
        "model",
        "lora",
        "webhook",
        *ROLES,
        *EditSettings.__dataclass_fields__,
    } == fields
    assert body["properties"]["video"] == {"type": "string", "format": "binary"} | {
        "description": body["properties"]["video"]["description"]
    }


def test_behind_a_proxy_and_without_tokens(tmp_path):
    service = Service(tmp_path)
    app = build_server(service.store, service.files, model="fake", tokens=Tokens())
    document = TestClient(app, root_path="/v2v").get("/v2v/openapi.json").json()
    assert document["servers"] == [{"url": "/v2v"}]
    assert document["paths"]["/v1/videos"]["get"]["security"][0] == {}
    assert ANN not in str(document)
    service.store.close()


def test_it_is_valid(document):
    """By the validator of the OpenAPI project, where it is installed; every reference leads somewhere."""
    pytest.importorskip("openapi_spec_validator").validate(document)
