"""API keys"""

import openai
import pytest
import requests

from conftest import KEYS

ROUTES = [
    ("GET", "/v1/models"),
    ("POST", "/v1/completions"),
    ("POST", "/v1/chat/completions"),
    ("POST", "/tokenize"),
    ("POST", "/detokenize"),
    ("GET", "/metrics"),
    ("GET", "/load"),
]


@pytest.fixture(autouse=True)
def needs_keys(server):
    if not server.key:
        pytest.skip("the server under test wants no key")


@pytest.mark.parametrize("method,route", ROUTES)
def test_without_a_key(server, method, route):
    answer = requests.request(
        method, server.url + route, json={} if method == "POST" else None, timeout=30
    )
    assert answer.status_code == 401
    assert answer.json()["error"]["type"] == "authentication_error"


@pytest.mark.parametrize(
    "header",
    [
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer "},
        {"Authorization": "Basic eA=="},
        {"X-Api-Key": "wrong"},
        {"X-Api-Key": ""},
    ],
)
def test_with_a_wrong_key(server, header):
    answer = requests.get(server.url + "/v1/models", headers=header, timeout=30)
    assert answer.status_code == 401
    assert server.key not in answer.text


def test_a_prefix_of_the_key_is_wrong(server):
    answer = requests.get(
        server.url + "/v1/models",
        headers={"Authorization": f"Bearer {server.key[:-1]}"},
        timeout=30,
    )
    assert answer.status_code == 401


def test_x_api_key(server):
    answer = requests.get(server.url + "/v1/models", headers={"X-Api-Key": server.key}, timeout=30)
    assert answer.status_code == 200


def test_every_key_opens(server):
    if server.key not in KEYS:
        pytest.skip("only one key of the server under test is known")
    for key in KEYS:
        answer = requests.get(
            server.url + "/v1/models", headers={"Authorization": f"Bearer {key}"}, timeout=30
        )
        assert answer.status_code == 200


@pytest.mark.parametrize("route", ["/health", "/version"])
def test_open_routes(server, route):
    assert requests.get(server.url + route, timeout=30).status_code == 200


def test_the_client_raises_authentication_error(server):
    with openai.OpenAI(base_url=server.url + "/v1", api_key="wrong", max_retries=0) as client:
        with pytest.raises(openai.AuthenticationError):
            client.models.list()
