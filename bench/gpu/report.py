"""Tables and plot of a folder of results that bench/gpu/run.sh wrote.

python3 bench/gpu/report.py [bench/results/h200]

Puts the tables between the marks `<!-- figures -->` and `<!-- /figures -->` of the folder's README.md
and of the repository's, and draws FOLDER/throughput.svg and FOLDER/gemm.svg. What was not measured
has no row. Figures of others: NVIDIA's published `trtllm-bench throughput` (FP8, one H200, best
release), llama.cpp of August 2026 and transformers on such a GPU.
"""
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHAPES = ["128-128", "128-2048", "1000-1000", "2048-128", "2048-2048", "5000-500"]
PUBLISHED = {
    "8b": dict(zip(SHAPES, [29526, 26221, 17744, 3794, 12194, 3988])),
    "70b": dict(zip(SHAPES, [4021, 4336, 2909, 466, 2003, 566])),
}
NAMES = {"8b-bf16": "Llama-3-8B bf16", "8b-fp8": "Llama-3-8B fp8, fp8 KV",
         "70b-fp8": "Llama-3-70B fp8, fp8 KV"}


def load(folder, name):
    path = folder / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def table(head, rows):
    if not rows:
        return ""
    lines = ["| " + " | ".join(cells) + " |" for cells in [head, *rows]]
    lines.insert(1, "|" + "---|" * len(head))
    return "\n".join(lines) + "\n\n"


def beside(model, batch, rivals):
    """what others need for the same step, in ms"""
    out = []
    if model == "8b-bf16":
        for row in (rivals or {}).get("steps", []):
            if row["batch"] == batch:
                out.append(f"transformers {row['step_ms']:.1f} (same run)")
        if batch == 1:
            out.append("llama.cpp f16 4.73")
    if (model, batch) == ("70b-fp8", 1):
        out.append("TensorRT-LLM 19.6 (published)")
    return ", ".join(out)


def latency_rows(folder):
    rivals, rows = load(folder, "rivals"), []
    for model, name in NAMES.items():
        for batch in (1, 16, 64):
            j = load(folder, f"latency-{model}-b{batch}")
            if j:
                rows.append([f"{name}, batch {batch}", f"**{j['tpot_ms']['p50']:.2f} ms**",
                             f"{j['floor_ms']:.2f}", f"{j['floor_share']:.0%}",
                             beside(model, batch, rivals)])
    return rows


def throughput_rows(folder):
    rows = []
    for model, published in PUBLISHED.items():
        for shape in SHAPES:
            j = load(folder, f"throughput-{model}-fp8-{shape}")
            if j:
                ours = j["output_throughput"]
                rows.append([f"{model.upper()} {shape.replace('-', '/')}", f"{j['completed']:,}",
                             f"{j['batch_mean']:.0f}", f"**{ours:,.0f}**",
                             f"{published[shape]:,}", f"{ours / published[shape]:.0%}",
                             f"{j['floor_share']:.0%}", f"{j['gpu_idle_share']:.1%}"])
    return rows


def other_rows(folder):
    rows = []
    for model, name in NAMES.items():
        for isl in (1024, 8000):
            j = load(folder, f"prefill-{model}-{isl}")
            if j:
                rows.append([f"{name}: {isl:,} tokens to the first", f"{j['ttft_ms']['p50']:.1f} ms"])
    for model, name in NAMES.items():
        j = load(folder, f"build-{model}")
        if j:
            rows.append([f"{name}: tuned build, empty cache", f"{j['seconds']:.1f} s"])
    j = load(folder, "start-8b-bf16")
    if j:
        rows.append(["8B bf16, bytes stored, page cache: `serve` to the first token",
                     f"{j['first_token_s']:.1f} s"])
    for rate in (4, 12, 24):
        j = load(folder, f"trace-8b-fp8-{rate}")
        if j:
            rows.append([f"8B fp8, Azure conversations at {rate} requests a second: "
                         "TTFT p50 · p99, TPOT p50 · p99",
                         f"{j['median_ttft_ms']:.0f} · {j['p99_ttft_ms']:.0f} ms, "
                         f"{j['median_tpot_ms']:.1f} · {j['p99_tpot_ms']:.1f} ms"])
    return rows


def put(path, text):
    begin, end = "<!-- figures -->", "<!-- /figures -->"
    whole = path.read_text()
    if begin not in whole or end not in whole:
        raise SystemExit(f"{path} has no marks {begin} .. {end}")
    head, tail = whole.split(begin)[0], whole.split(end)[1]
    path.write_text(f"{head}{begin}\n{text.strip()}\n{end}{tail}")


def plot_throughput(folder):
    import matplotlib
    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "ramjet"
    import matplotlib.pyplot as plt
    fig, axes = plt.subplots(1, 2, figsize=(11, 3.6))
    for ax, model in zip(axes, PUBLISHED):
        shapes = [s for s in SHAPES if load(folder, f"throughput-{model}-fp8-{s}")]
        at = range(len(shapes))
        runs = [load(folder, f"throughput-{model}-fp8-{s}") for s in shapes]
        ax.bar([x - 0.27 for x in at], [r["output_throughput"] for r in runs], 0.27, label="Ramjet")
        ax.bar(at, [PUBLISHED[model][s] for s in shapes], 0.27, label="TensorRT-LLM, published")
        ax.bar([x + 0.27 for x in at], [r["floor_tok_s"] for r in runs], 0.27, label="floor",
               color="lightgray")
        ax.set_xticks(list(at), [s.replace("-", "/") for s in shapes])
        ax.set_title(f"Llama-3-{model.upper()} fp8, one H200, output tok/s")
    axes[0].legend()
    fig.tight_layout()
    fig.savefig(folder / "throughput.svg", metadata={"Date": None})


def plot_gemm(folder):
    j = load(folder, "kernels-8b-fp8")
    rows = [k for k in j["kernels"] if k["name"].startswith("matmul") and k.get("baseline")] if j else []
    if not rows:
        return
    import matplotlib.pyplot as plt
    fig, ax = plt.subplots(figsize=(11, 3.6))
    ax.bar(range(len(rows)), [k["baseline"]["us"] / k["us"] for k in rows])
    ax.axhline(1, color="black", linewidth=0.8)
    ax.set_xticks(range(len(rows)), [" ".join(k["shape"].split()[:3]) for k in rows], rotation=60,
                  ha="right", fontsize=7)
    ax.set_title("time of cuBLASLt / ours, products of Llama-3-8B fp8 (ours with their epilogues)")
    fig.tight_layout()
    fig.savefig(folder / "gemm.svg", metadata={"Date": None})


def main():
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "bench/results/h200"
    latency = table(["decode, 512 + 128 tokens", "a step", "floor", "share", "others, ms"],
                    latency_rows(folder))
    throughput = table(["in/out, all queued", "requests", "mean batch", "tok/s", "TensorRT-LLM",
                        "of it", "of the floor", "GPU idle"], throughput_rows(folder))
    other = table(["", ""], other_rows(folder))
    put(folder / "README.md", latency + throughput + other)
    put(ROOT / "README.md", latency + throughput)
    plot_throughput(folder)
    plot_gemm(folder)


if __name__ == "__main__":
    main()
