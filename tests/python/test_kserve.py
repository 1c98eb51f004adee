"""KServe v2 by Triton's own client; the server is that of the other suites"""

import json

import pytest

np = pytest.importorskip("numpy")
triton = pytest.importorskip("tritonclient.http")
from tritonclient.utils import InferenceServerException  # noqa: E402


@pytest.fixture(scope="module")
def client(server):
    with triton.InferenceServerClient(server.url.split("://")[1], network_timeout=120) as c:
        if server.key:
            c.register_plugin(_Key(server.key))
        yield c


class _Key:
    def __init__(self, key):
        self.key = key

    def __call__(self, request):
        request.headers["Authorization"] = f"Bearer {self.key}"


def tensor(name, value, kind, shape=None, binary=True):
    array = np.array(value, dtype=object if kind == "BYTES" else triton_type(kind))
    array = array.reshape(shape or (1, -1))
    out = triton.InferInput(name, list(array.shape), kind)
    out.set_data_from_numpy(array, binary_data=binary)
    return out


def triton_type(kind):
    return {"INT32": np.int32, "FP32": np.float32, "UINT64": np.uint64, "BOOL": bool}[kind]


def infer(client, server, text="Once upon a time", *more, binary=True, limit=8, **how):
    inputs = [
        tensor("text_input", text, "BYTES", None if isinstance(text, str) else (-1, 1), binary),
        tensor("max_tokens", limit, "INT32", binary=binary),
        tensor("temperature", 0.0, "FP32", binary=binary),
        *more,
    ]
    return client.infer(server.model, inputs, **how)


def texts(result):
    found = result.as_numpy("text_output")  # of JSON str, of binary data bytes
    return [text.decode() if isinstance(text, bytes) else text for text in found]


@pytest.fixture(scope="module")
def expected(server):
    """what /v1/completions says, prompt by prompt"""

    def of(prompt, limit=8):
        return server.complete(prompt=prompt, max_tokens=limit)["choices"][0]["text"]

    return of


def test_live_and_ready(client, server):
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready(server.model) and client.is_model_ready(server.model, "1")


def test_unknown_models_are_not_ready(client, server):
    assert not client.is_model_ready("nobody")
    assert not client.is_model_ready(server.model, "9")


def test_server_metadata(client):
    metadata = client.get_server_metadata()
    assert metadata["name"] == "ramjet" and "statistics" in metadata["extensions"]


def test_model_metadata(client, server):
    metadata = client.get_model_metadata(server.model)
    assert metadata["name"] == server.model and metadata["versions"] == ["1"]
    assert "text_input" in [i["name"] for i in metadata["inputs"]]
    assert {"name": "text_output", "datatype": "BYTES", "shape": [-1]} in metadata["outputs"]


def test_model_config(client, server):
    config = client.get_model_config(server.model, "1")
    assert config["backend"] == "ramjet" and config["model_transaction_policy"]["decoupled"]
    assert int(config["parameters"]["max_seq_len"]["string_value"]) == server.context


def test_unknown_model_is_an_exception(client):
    with pytest.raises(InferenceServerException, match="nobody"):
        client.get_model_metadata("nobody")


@pytest.mark.parametrize("binary", [True, False])
def test_infer(client, server, expected, binary):
    result = infer(client, server, binary=binary)
    assert texts(result) == [expected("Once upon a time")]
    assert result.get_response()["model_name"] == server.model


@pytest.mark.parametrize("binary", [True, False])
def test_named_output(client, server, expected, binary):
    outputs = [triton.InferRequestedOutput("text_output", binary_data=binary)]
    result = infer(client, server, outputs=outputs, request_id="r-1")
    assert texts(result) == [expected("Once upon a time")]
    assert result.get_response()["id"] == "r-1"
    assert ("data" in result.get_output("text_output")) == (not binary)


def test_a_batch_of_prompts(client, server, expected):
    prompts = ["Once upon a time", "The history of the city begins", "naïve café"]
    assert texts(infer(client, server, prompts)) == [expected(p) for p in prompts]


def test_many_outputs(client, server):
    names = ["text_output", "finish_reason", "cum_log_probs", "num_output_tokens"]
    result = infer(client, server, outputs=[triton.InferRequestedOutput(n) for n in names])
    assert result.as_numpy("finish_reason")[0] in (b"length", b"stop")
    assert result.as_numpy("cum_log_probs")[0] < 0
    assert 0 < result.as_numpy("num_output_tokens")[0] <= 8


def test_model_version_and_async(client, server, expected):
    inputs = [tensor("text_input", "Hi", "BYTES"), tensor("temperature", 0.0, "FP32")]
    running = [client.async_infer(server.model, inputs, model_version="1") for _ in range(4)]
    assert [texts(r.get_result()) for r in running] == [[expected("Hi", 16)]] * 4


def test_stop_words(client, server, expected):
    whole = expected("Once upon a time", 16)
    stop = whole[5:8]
    result = infer(client, server, "Once upon a time", tensor("stop_words", stop, "BYTES"), limit=16)
    assert texts(result) == [whole[: whole.index(stop)]]


def test_empty_words_are_none(client, server, expected):
    more = [tensor("stop_words", "", "BYTES"), tensor("bad_words", "", "BYTES")]
    assert texts(infer(client, server, "Hi", *more)) == [expected("Hi")]


def test_seed(client, server):
    more = [tensor("temperature", 0.9, "FP32"), tensor("random_seed", 11, "UINT64")]
    inputs = [tensor("text_input", "Hi", "BYTES"), *more]
    one, two = (texts(client.infer(server.model, inputs)) for _ in range(2))
    assert one == two


def test_sampling_parameters_as_vllm_has_them(client, server, expected):
    wanted = json.dumps({"temperature": 0, "max_tokens": 5})
    inputs = [
        tensor("text_input", "Hi", "BYTES", (1,)),
        tensor("sampling_parameters", wanted, "BYTES", (1,)),
        tensor("stream", False, "BOOL", (1,)),
    ]
    assert texts(client.infer(server.model, inputs)) == [expected("Hi", 5)]


def test_the_prompt_in_front(client, server, expected):
    more = tensor("exclude_input_in_output", False, "BOOL")
    assert texts(infer(client, server, "Hi", more)) == ["Hi" + expected("Hi")]


def test_several_sequences(client, server):
    result = infer(client, server, "Hi", tensor("num_return_sequences", 3, "INT32"))
    assert len(texts(result)) == 3


@pytest.mark.parametrize(
    "name,value,kind",
    [
        ("temperature", -1.0, "FP32"),
        ("top_p", 0.0, "FP32"),
        ("max_tokens", 10_000_000, "INT32"),
        ("beam_width", 4, "INT32"),
        ("stream", True, "BOOL"),
    ],
)
def test_refused_by_name(client, server, name, value, kind):
    inputs = [tensor("text_input", "Hi", "BYTES"), tensor(name, value, kind)]
    with pytest.raises(InferenceServerException, match=name):
        client.infer(server.model, inputs)


def test_no_prompt_is_refused(client, server):
    with pytest.raises(InferenceServerException, match="text_input"):
        client.infer(server.model, [tensor("max_tokens", 4, "INT32")])


def test_unknown_output_is_refused(client, server):
    with pytest.raises(InferenceServerException, match="logits"):
        infer(client, server, outputs=[triton.InferRequestedOutput("logits")])


def test_statistics(client, server):
    def success():
        stats = client.get_inference_statistics(server.model)["model_stats"][0]
        return stats["inference_stats"]["success"]

    before = success()
    infer(client, server)
    after = success()
    assert after["count"] == before["count"] + 1 and after["ns"] > before["ns"]
    assert client.get_inference_statistics()["model_stats"][0]["name"] == server.model


def test_repository(client, server):
    index = client.get_model_repository_index()
    assert {"name": server.model, "version": "1", "state": "READY", "reason": ""} in index
    client.load_model(server.model)
    with pytest.raises(InferenceServerException, match="until it ends"):
        client.unload_model(server.model)
    assert client.is_model_ready(server.model)


def test_generate(server, expected):
    body = {"text_input": "Hi", "max_tokens": 8, "parameters": {"temperature": 0}}
    answer = server.post(f"/v2/models/{server.model}/generate", body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["text_output"] == expected("Hi")


def test_generate_stream(server, expected):
    body = {"text_input": "Hi", "max_tokens": 8, "temperature": 0, "stream": True}
    answer = server.post(f"/v2/models/{server.model}/generate_stream", body, stream=True)
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    events = [
        json.loads(line[6:])
        for line in answer.iter_lines(decode_unicode=True)
        if line.startswith("data: ")
    ]
    assert "".join(event["text_output"] for event in events) == expected("Hi")
    assert len(events) > 1 and events[0]["model_version"] == "1"
