"""the Python package `ramjet`: generation, streams, event loops, networks, errors"""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGE = os.environ.get("RAMJET_PYTHON", str(ROOT / "build" / "python"))
sys.path.insert(0, PACKAGE)
try:
    import ramjet
    from ramjet import functional as F
except ImportError as missing:  # no headers of this Python when the project was built
    pytest.skip(f"the package is not built: {missing}", allow_module_level=True)

DEMO = str(ROOT / "models" / "demo")
GREEDY = ramjet.SamplingParams(temperature=0, max_tokens=12)
PROMPTS = ["Once upon a time", "The history of the city begins"]


@pytest.fixture(autouse=True)
def no_request_left():
    """nothing here talks to the server that other suites start"""


@pytest.fixture(scope="module")
def llm():
    with ramjet.LLM(DEMO, kv_cache_memory_bytes=64 << 20, num_threads=2) as model:
        yield model


def texts(outputs):
    return [output.outputs[0].text for output in outputs]


def test_generate(llm):
    outputs = llm.generate(PROMPTS, GREEDY)
    assert [output.prompt for output in outputs] == PROMPTS
    for output in outputs:
        sequence = output.outputs[0]
        assert output.finished and sequence.finish_reason in ("length", "stop")
        assert output.prompt_token_ids == llm.encode(output.prompt)
        assert len(sequence.token_ids) <= 12 and sequence.text
        assert llm.decode(output.prompt_token_ids + sequence.token_ids).endswith(sequence.text)
    alone = llm.generate(PROMPTS[0], GREEDY)  # one prompt, and the same as token ids
    assert texts(alone) == texts(outputs)[:1]
    ids = outputs[1].prompt_token_ids
    assert texts(llm.generate([ids], GREEDY)) == texts(outputs)[1:]
    assert texts(llm.generate({"prompt_token_ids": ids}, GREEDY)) == texts(outputs)[1:]


def test_many_prompts_and_parameters(llm):
    params = [ramjet.SamplingParams(temperature=0, max_tokens=1 + i % 5) for i in range(300)]
    outputs = llm.generate([f"Number {i}" for i in range(300)], params)
    for i, output in enumerate(outputs):
        assert output.prompt == f"Number {i}" and len(output.outputs[0].token_ids) <= 1 + i % 5
    llm._executor.check_integrity()


def test_sampling(llm):
    params = ramjet.SamplingParams(temperature=0.9, top_p=0.95, top_k=-1, seed=7, n=2, logprobs=2)
    first, again = llm.generate([PROMPTS[0]] * 2, params)
    assert [s.token_ids for s in first.outputs] == [s.token_ids for s in again.outputs]
    sequence = first.outputs[1]
    assert sequence.index == 1 and len(sequence.logprobs) == len(sequence.token_ids)
    total = sum(table[i].logprob for i, table in zip(sequence.token_ids, sequence.logprobs))
    assert sequence.cumulative_logprob == pytest.approx(total) and total < 0
    for table in sequence.logprobs:
        assert any(entry.rank == 1 for entry in table.values())


def test_stop_texts_and_prompt_logprobs(llm):
    whole = texts(llm.generate(PROMPTS[0], GREEDY))[0]
    stop = whole[4:7]
    params = ramjet.SamplingParams(temperature=0, max_tokens=12, stop=stop, prompt_logprobs=1)
    output = llm.generate(PROMPTS[0], params)[0]
    assert output.outputs[0].text == whole[: whole.index(stop)]
    assert (output.outputs[0].finish_reason, output.outputs[0].stop_reason) == ("stop", stop)
    assert output.prompt_logprobs[0] is None
    assert all(table for table in output.prompt_logprobs[1:])
    params.include_stop_str_in_output = True
    assert texts(llm.generate(PROMPTS[0], params))[0] == whole[: whole.index(stop)] + stop


def test_structured_outputs(llm):
    params = ramjet.SamplingParams(structured_outputs={"choice": ["red", "green"]}, seed=1)
    assert texts(llm.generate("The colour is", params))[0] in ("red", "green")
    params.structured_outputs = {"regex": "[0-9]{3}-[0-9]{2}"}
    text = texts(llm.generate("Call", params))[0]
    assert len(text) == 6 and text[3] == "-" and text.replace("-", "").isdigit()


def test_chat(llm):
    messages = [{"role": "user", "content": "Tell me a story."}]
    prompt = llm.chat_prompt(messages)
    one = llm.chat(messages, GREEDY)
    assert one[0].prompt == prompt and "Tell me a story." in prompt
    assert texts(llm.chat([messages, messages], GREEDY)) == texts(one) * 2
    short = "{% for m in messages %}{{ m.content }}!{% endfor %}"
    assert llm.chat_prompt(messages, chat_template=short) == "Tell me a story.!"
    with pytest.raises(ramjet.errors.InvalidArgument):
        llm.chat_prompt(messages, chat_template="{{ raise_exception('no') }}")


def test_stream(llm):
    whole = texts(llm.generate(PROMPTS[1], GREEDY))[0]
    pieces, lengths = [], []
    for output in llm.stream(PROMPTS[1], GREEDY):
        pieces.append(output.outputs[0].text_diff)
        lengths.append(len(output.outputs[0].token_ids_diff))
    assert "".join(pieces) == whole and sum(lengths) == len(output.outputs[0].token_ids)
    assert len(pieces) > 3
    for _ in llm.stream(PROMPTS[1], ramjet.SamplingParams(max_tokens=400, ignore_eos=True)):
        break  # who leaves the loop ends the request
    for _ in range(200):
        if llm.stats()["requests_running"] == 0:
            break
        threading.Event().wait(0.02)
    assert llm.stats()["requests_running"] == 0


def test_event_loop(llm):
    whole = texts(llm.generate(PROMPTS, GREEDY))

    async def streamed(prompt):
        text = ""
        async for output in llm.generate_async(prompt, GREEDY):
            text += output.outputs[0].text_diff
        assert output.finished
        return text

    async def main():
        assert await asyncio.gather(*map(streamed, PROMPTS * 4)) == whole * 4
        assert (await llm.generate_async(PROMPTS[0], GREEDY)).outputs[0].text == whole[0]
        long = ramjet.SamplingParams(max_tokens=400, ignore_eos=True)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(_wait(llm.generate_async(PROMPTS[0], long)), 0.05)
        generation = llm.generate_async(PROMPTS[0], long)
        async for output in generation:
            generation.abort()
        assert output.outputs[0].finish_reason == "abort"
        with pytest.raises(ramjet.errors.InvalidArgument):
            await llm.generate_async(PROMPTS[0], ramjet.SamplingParams(top_p=2))

    asyncio.run(main())
    asyncio.run(main())  # another loop


async def _wait(generation):
    return await generation


def test_errors_are_exceptions(llm, tmp_path):
    with pytest.raises(ramjet.errors.InvalidArgument, match="temperature"):
        llm.generate("x", ramjet.SamplingParams(temperature=-1))
    with pytest.raises(ValueError, match="sampling_params"):
        llm.generate(["a", "b"], [GREEDY])
    with pytest.raises(ValueError, match="max_model_len"):
        llm.generate([[5] * 100_000], GREEDY)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        ramjet.LLM(str(tmp_path / "nowhere"))
    with pytest.raises(NotImplementedError, match="tp=2"):
        ramjet.LLM(DEMO, tensor_parallel_size=2)
    junk = tmp_path / "junk.engine"
    junk.write_bytes(b"RAMJET" + bytes(100))
    with pytest.raises(ramjet.errors.Error) as error:
        ramjet.Engine.load(str(junk))
    assert "junk.engine" in str(error.value) and error.value.code
    assert texts(llm.generate("x", GREEDY))  # and goes on


def test_max_model_len():
    with ramjet.LLM(DEMO, 1, 32, kv_cache_memory_bytes=16 << 20, num_threads=1) as short:
        assert short.max_model_len == 32
        params = ramjet.SamplingParams(max_tokens=None, ignore_eos=True)
        output = short.generate("Once", params)[0]
        assert len(output.prompt_token_ids) + len(output.outputs[0].token_ids) == 32
        assert output.outputs[0].finish_reason == "length"


def test_executor():
    options = {"kv_cache_memory_bytes": 64 << 20, "num_threads": 2}
    with ramjet.Executor(DEMO, max_beam_width=3, **options) as executor:
        greedy = executor.generate(PROMPTS, max_new_tokens=8, beam_width=1)
        beams = executor.generate(PROMPTS, max_new_tokens=8)
        for one, many in zip(greedy, beams):
            assert len(one.outputs) == 1 and len(one.outputs[0].token_ids) <= 8
            scores = [beam.cumulative_logprob / len(beam.token_ids) for beam in many.outputs]
            assert len(scores) == 3 and scores == sorted(scores, reverse=True)
            assert len({tuple(beam.token_ids) for beam in many.outputs}) == 3
        with pytest.raises(ValueError, match="max_beam_width"):
            executor.generate("x", 4, beam_width=4)


def test_other_threads_go_on_and_ctrl_c_works():
    script = textwrap.dedent(
        f"""
        import sys, threading
        sys.path.insert(0, {PACKAGE!r})
        import ramjet
        llm = ramjet.LLM({DEMO!r}, kv_cache_memory_bytes=64 << 20, num_threads=1)
        ticks = []
        def tick():
            while True:
                ticks.append(1)
                if len(ticks) == 20:
                    print("ticking", flush=True)
                threading.Event().wait(0.005)
        threading.Thread(target=tick, daemon=True).start()
        params = ramjet.SamplingParams(max_tokens=400, ignore_eos=True)
        try:
            while True:
                llm.generate(["Once upon a time"] * 8, params)
        except KeyboardInterrupt:
            print("stopped", len(llm.generate("x", ramjet.SamplingParams(max_tokens=1))))
        """
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ticking\n"
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert out == "stopped 1\n" and process.returncode == 0


def network(name, weights, dtype="f32"):
    net = ramjet.Builder(tune=False).create_network(name)
    x = net.input("x", dtype, ["rows", weights.shape[0]])
    y = F.relu(F.matmul(x, net.weight("w", weights, dtype=dtype)) * 2.0 + 1.0)
    net.mark_output("y", y)
    net.set_profile("rows", 1, 8, 64)
    return net


def test_network(tmp_path):
    np = pytest.importorskip("numpy")
    rng = np.random.default_rng(1)
    w = rng.standard_normal((24, 16)).astype(np.float32)
    path = str(tmp_path / "mlp.engine")
    report = ramjet.Builder(tune=False).build(network("mlp", w), path)
    assert report.path == path and report.bytes == Path(path).stat().st_size and report.passes
    context = ramjet.Context(path, num_threads=2)
    assert [(s.name, s.dtype, s.extents) for s in context.inputs] == [("x", "f32", ("rows", 24))]
    assert context.outputs[0].extents == ("rows", 16)
    assert context.num_launches == 1  # all of it is one kernel
    for rows in (1, 7, 64):
        x = rng.standard_normal((rows, 24)).astype(np.float32)
        y = context.run(x=x)["y"]
        assert y.dtype == np.float32 and y.shape == (rows, 16)
        np.testing.assert_allclose(y, np.maximum(x @ w * 2 + 1, 0), rtol=1e-4, atol=1e-4)
    again = ramjet.Context(ramjet.Engine.load(path))  # saved, loaded
    np.testing.assert_array_equal(again(x=x)["y"], y)
    with pytest.raises(ValueError, match="outside the profile"):
        context.run(x=np.zeros((65, 24), np.float32))
    with pytest.raises(ValueError, match="wants"):
        context.run(x=np.zeros((2, 23), np.float32))
    with pytest.raises(ramjet.errors.NotFound, match="no input 'z'"):
        context.run(z=x)


def test_bf16_network(tmp_path):
    np = pytest.importorskip("numpy")
    w = np.random.default_rng(2).standard_normal((32, 8)).astype(np.float32)
    path = str(tmp_path / "half.engine")
    ramjet.build_network(network("half", w, "bf16"), path, tune=False)
    x = np.random.default_rng(3).standard_normal((5, 32)).astype(np.float32)
    y = ramjet.Context(path).run(x=x)["y"]
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, np.maximum(x @ w * 2 + 1, 0), rtol=0.05, atol=0.15)


def test_functions_against_numpy(tmp_path):
    np = pytest.importorskip("numpy")
    net = ramjet.Network("all")
    x = net.input("x", ramjet.DType.kF32, ["rows", 6])
    outputs = {
        "softmax": F.softmax(x),
        "mean": F.mean(x, -1, keep_dim=True),
        "silu": F.silu(x),
        "arithmetic": 1.0 - x / 2.0 + (-x) * x,
        "where": F.where(F.cast(F.relu(x), "f32"), x, F.square(x)),
        "concat": F.concat([x, F.tanh(x)], 1),
        "slice": F.slice(x, 1, 2, 3),
        "max": F.max(x, 1),
    }
    for name, tensor in outputs.items():
        net.mark_output(name, tensor)
    net.set_profile("rows", 1, 4, 16)
    path = str(tmp_path / "all.engine")
    ramjet.build_network(net, path, tune=False)
    a = np.random.default_rng(4).standard_normal((3, 6)).astype(np.float32)
    e = np.exp(a - a.max(1, keepdims=True))
    want = {
        "softmax": e / e.sum(1, keepdims=True),
        "mean": a.mean(1, keepdims=True),
        "silu": a / (1 + np.exp(-a)),
        "arithmetic": 1 - a / 2 - a * a,
        "where": np.where(a > 0, a, a * a),
        "concat": np.concatenate([a, np.tanh(a)], 1),
        "slice": a[:, 2:5],
        "max": a.max(1),
    }
    got = ramjet.Context(path).run(x=a)
    assert set(got) == set(want)
    for name, value in want.items():
        np.testing.assert_allclose(got[name], value, rtol=1e-4, atol=1e-5, err_msg=name)


def test_misuse_raises_where_it_happens():
    net = ramjet.Network()
    x = net.input("x", "f32", ["rows", 4])
    with pytest.raises(ramjet.errors.InvalidArgument, match="matmul"):
        F.matmul(x, net.input("z", "f32", [5, 4]))
    with pytest.raises(ValueError, match="not a dtype"):
        net.input("y", "f33", [1])
    with pytest.raises(ValueError, match="another network"):
        ramjet.Network().input("a", "f32", [4]) + x


def test_encoder():
    np = pytest.importorskip("numpy")
    folders = sorted((ROOT / "tests" / "data" / "encoders").glob("*/config.json"))
    if not folders:
        pytest.skip("no encoder among the test data")
    for config in folders:
        encoder = ramjet.Encoder(str(config.parent), num_threads=1)
        ids = [[2, 5, 6, 3], [2, 7, 3]]
        vectors = encoder.embed(ids, pooling="mean", normalize=True)
        assert vectors.shape == (2, encoder.width) and vectors.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
        np.testing.assert_allclose(
            encoder.embed(ids[1:], pooling="mean", normalize=True)[0], vectors[1], atol=1e-4
        )


def test_is_typed():
    folder = Path(ramjet.__file__).parent
    assert (folder / "py.typed").exists() and (folder / "_core.pyi").exists()
    assert set(ramjet.__all__) <= set(dir(ramjet)) and ramjet.__version__[0].isdigit()
