#!/usr/bin/env python3
"""Draws serving-<model>.svg and prints a table from serving-<model>-{inflight,static}.json.

Usage: tools/plot_serving.py bench/results/MACHINE MODEL
"""
import json
import sys
from pathlib import Path


def waste(run):
    return 1 - run["kv_live_tokens_mean"] / run["kv_reserved_tokens_mean"]


def contiguous_waste(run):
    return 1 - run["kv_live_tokens_mean"] / run["kv_contiguous_tokens_mean"]


def bars(x, title, items):
    """One panel: items are (label, value, text)."""
    top = max(value for _, value, _ in items) or 1
    out = [f'<text x="{x + 130}" y="24" text-anchor="middle" font-weight="bold">{title}</text>']
    for i, (label, value, text) in enumerate(items):
        height = 150 * value / top
        left, color = x + 40 + i * 100, ("#2a6f97", "#bc6c25")[i % 2]
        out.append(f'<rect x="{left}" y="{200 - height:.1f}" width="70" height="{height:.1f}" '
                   f'fill="{color}"/>')
        out.append(f'<text x="{left + 35}" y="{194 - height:.1f}" text-anchor="middle">{text}</text>')
        out.append(f'<text x="{left + 35}" y="218" text-anchor="middle">{label}</text>')
    return out


def main():
    folder, model = Path(sys.argv[1]), sys.argv[2]
    runs = {mode: json.loads((folder / f"serving-{model}-{mode}.json").read_text())
            for mode in ("inflight", "static")}
    inflight, static = runs["inflight"], runs["static"]
    print("| batching | output tok/s | slot occupancy | reserved, not live | contiguous, not live |")
    print("|---|---|---|---|---|")
    for mode, run in runs.items():
        print(f"| {mode} | {run['output_throughput']:.0f} | {run['slot_occupancy']:.1%} "
              f"| {waste(run):.1%} | {contiguous_waste(run):.1%} |")
    panels = [
        ("output tok/s", [("in flight", inflight["output_throughput"],
                           f"{inflight['output_throughput']:.0f}"),
                          ("static", static["output_throughput"],
                           f"{static['output_throughput']:.0f}")]),
        ("slots at work", [("in flight", inflight["slot_occupancy"],
                            f"{inflight['slot_occupancy']:.1%}"),
                           ("static", static["slot_occupancy"],
                            f"{static['slot_occupancy']:.1%}")]),
        ("KV reserved, not live", [("paged", waste(inflight), f"{waste(inflight):.1%}"),
                                   ("contiguous", contiguous_waste(inflight),
                                    f"{contiguous_waste(inflight):.1%}")]),
    ]
    svg = ['<svg xmlns="http://www.w3.org/2000/svg" width="820" height="230" '
           'font-family="sans-serif" font-size="13">',
           '<rect width="820" height="230" fill="white"/>']
    for i, (title, items) in enumerate(panels):
        svg += bars(10 + i * 270, title, items)
    (folder / f"serving-{model}.svg").write_text("\n".join(svg + ["</svg>", ""]))


if __name__ == "__main__":
    main()
