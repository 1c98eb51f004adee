"""What the speed comparisons share: our benchmark's rates, and the machine they were taken on."""
import json
import os
import pathlib
import platform
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent


def our_rates(program, filter, unit, repetitions):
    """benchmark -> the best of its rates; `unit`: what it counts, items or bytes"""
    done = subprocess.run([program, f"--benchmark_filter={filter}", "--benchmark_format=json",
                           f"--benchmark_repetitions={repetitions}", "--benchmark_min_time=0.1"],
                          cwd=ROOT, capture_output=True, check=True)
    rates = {}
    for run in json.loads(done.stdout)["benchmarks"]:
        rate = run.get(f"{unit}_per_second")
        if run.get("run_type") == "iteration" and rate is not None:
            rates[run["run_name"]] = max(rates.get(run["run_name"], 0), rate)
    return rates


def report(facts, rows):
    """prints the results with the machine's facts, as JSON"""
    lines = open("/proc/cpuinfo").read().splitlines()
    cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "")
    machine = {"cpu": cpu, "cores": os.cpu_count(), "python": platform.python_version()}
    print(json.dumps({"machine": machine, "threads": 1, "load_average": os.getloadavg()[0], **facts,
                      "results": rows}, indent=1))
