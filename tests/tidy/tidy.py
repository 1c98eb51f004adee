#!/usr/bin/env python3
"""The style guide as a test: layers, sizes, parameters, banned tokens, format, budgets.

Usage: tests/tidy/tidy.py [check ...]   (default: all). Exemptions, each with its reason, stand in
exemptions.txt as "check path[:symbol]  reason". Ends with "N passed, N failed".
"""
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EXEMPTIONS = Path(__file__).with_name("exemptions.txt")

# Public headers that are plain data, visible to every layer.
DATA_HEADERS = {"result.h", "dtype.h", "request.h", "forced_tokens.h", "version.h"}
# Which modules may see the other public headers.
PUBLIC_HEADERS = {
    "functional.h": {"ir", "models", "compiler", "api"},
    "engine.h": {"engine", "models", "compiler", "runtime", "api", "server"},
    "executor.h": {"runtime", "api", "server"},
    "builder.h": {"api", "server"},
}
# What apps may include from src/ beside the public headers.
APP_MODULES = {"base", "text", "server", "engine", "kernels", "checkpoint", "device"}
# Inside runtime one way too.
RUNTIME_ORDER = {
    "kv": set(), "sampling": set(), "session": set(), "scheduler": {"kv"},
    "speculative": {"session", "sampling"},
    "executor": {"kv", "sampling", "session", "scheduler", "speculative"},
}
BANNED = [
    (r"\busing namespace\b", "using namespace"),
    (r"\b(TODO|FIXME|XXX|HACK)\b", "an unfinished mark"),
    (r"(?<![\w.])(std::)?getenv\(", "getenv: use base/env.h"),
    (r"(?<![\w_])assert\(", "assert: use CHECK or DCHECK"),
    (r"(?<![\w:])(?:std::)?(?:printf|puts)\(", "printf: results go through the command's writer"),
    (r"\bstd::(?:endl|cout|cin)\b", "iostream"),
    (r"\bgoto\b", "goto"),
]
MACROS = {"CHECK", "DCHECK", "RETURN_IF_ERROR", "ASSIGN_OR_RETURN", "ASSIGN_OR_RETURN_",
          "CO_RETURN_IF_ERROR", "CO_ASSIGN_OR_RETURN", "CO_ASSIGN_OR_RETURN_", "RAMJET_CONCAT",
          "RAMJET_CONCAT_", "X", "RAMJET_EXPORT", "RAMJET_VERSION", "RAMJET_OPS",
          "RAMJET_POINTWISE_OPS", "RAMJET_CUDA_DRIVER", "RAMJET_NVRTC",
          "RAMJET_CUBLASLT", "RAMJET_TSAN", "RAMJET_ASAN"}
LIMITS = {".h": 300, ".cc": 500, ".cuh": 700}
FUNCTION_LINES, KERNEL_LINES, PARAMETERS = 70, 120, 5


def tracked(*suffixes):
    out = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT,
                         capture_output=True, text=True, check=True).stdout.split("\n")
    return [p for p in out if p.endswith(suffixes) and (ROOT / p).exists()]


def is_test(path):
    return re.search(r"_(test|bench|fuzz)\.cc$", path) or path.startswith(("tests/", "bench/")) \
        or "/testing/" in path


def text_of(path):
    return (ROOT / path).read_text(encoding="utf-8", errors="replace")


def code_only(text):
    """Blanks comments and string literals, keeping the lines."""
    def blank(match):
        return re.sub(r"[^\n]", " ", match.group(0))
    pattern = (r'R"(\w*)\((?:.|\n)*?\)\1"|//[^\n]*|/\*(?:.|\n)*?\*/|"(?:\\.|[^"\\\n])*"'
               r"|(?<![\w])'(?:\\.|[^'\\\n])+'")
    return re.sub(pattern, blank, text)


def check_layers():
    cmake = text_of("CMakeLists.txt")
    deps = {}
    for name, rest in re.findall(r"ramjet_module\((\w+)([^)]*)\)", cmake):
        match = re.search(r"DEPS ([\w ]+?)(?: EXTERNAL|$)", rest.strip())
        deps[name] = set(match.group(1).split()) if match else set()
    for path in tracked(".h", ".cc"):
        parts = path.split("/")
        text = text_of(path)
        for quoted in re.findall(r'^#include "([^"]+)"', text, re.M):
            target = quoted.split("/")[0]
            if parts[0] == "src":
                module = parts[1]
                if "/" in quoted and target not in deps.get(module, set()) | {module, "generated"}:
                    yield path, f"{module} may not include {quoted}"
                if module == "compiler" and target == "kernels" and \
                        quoted not in ("kernels/registry.h", "kernels/kernel.h",
                                       "kernels/device_plan.h", "kernels/device_launch.h",
                                       "kernels/device_timing.h") and not is_test(path):
                    yield path, f"compiler sees kernels through registry.h only, not {quoted}"
                if module == "runtime" and quoted.startswith("runtime/") and not is_test(path):
                    room, other = parts[2], quoted.split("/")[1]
                    if room in RUNTIME_ORDER and other != room and other not in RUNTIME_ORDER[room]:
                        yield path, f"runtime/{room} may not include {quoted}"
            elif parts[0] == "apps":
                if "/" in quoted and target not in APP_MODULES:
                    yield path, f"apps may not include {quoted}"
            elif parts[0] == "examples":
                yield path, f"examples include <ramjet/...> only, not {quoted}"
            elif parts[0] == "include":
                yield path, f"public headers include <ramjet/...> only, not {quoted}"
        for header in re.findall(r"^#include <ramjet/([^>]+)>", text, re.M):
            if parts[0] != "src" or header in DATA_HEADERS or is_test(path):
                continue
            if parts[1] not in PUBLIC_HEADERS.get(header, {"api", "server"}):
                yield path, f"{parts[1]} may not include <ramjet/{header}>"
    if len(list((ROOT / "include/ramjet").glob("*.h"))) > 15:
        yield "include/ramjet", "more than 15 public headers"


def check_sizes():
    for path in tracked(".h", ".cc", ".cuh"):
        if is_test(path):
            continue
        text = text_of(path)
        lines = text.count("\n")
        limit = LIMITS[Path(path).suffix]
        if lines > limit:
            yield path, f"{lines} lines, the limit is {limit}"
        for number, line in enumerate(text.split("\n"), 1):
            if len(line) > 100 and "http" not in line and "#include" not in line:
                yield f"{path}:{number}", f"{len(line)} columns, the limit is 100"


def functions(text):
    """(name, first line, lines, parameters) of definitions, read off the formatted layout."""
    lines = code_only(text).split("\n")
    i = 0
    while i < len(lines):
        head = lines[i]
        indent = len(head) - len(head.lstrip())
        opens = re.match(r"^\s*(?!\s)(?!namespace|class|struct|enum|union|extern|else|if|for|while|switch|"
                         r"do\b|try|catch|return|case|default|#|\}|\)|template|using|typedef|public|"
                         r"private)[\w:<>,&*~\[\] ]+\(", head)
        if not opens or indent > 4:
            i += 1
            continue
        j, signature = i, head
        while j + 1 < len(lines) and not re.search(r"[;{}]\s*$", lines[j]) and j - i < 20:
            j += 1
            signature += " " + lines[j].strip()
        if not re.search(r"\{\s*$", lines[j]) or "=" in signature.split("(")[0]:
            i += 1
            continue
        k = j + 1
        while k < len(lines) and not re.match(r"^ {%d}\}" % indent, lines[k]):
            k += 1
        name = re.search(r"([\w:~]+)\s*\($", head[: head.index("(") + 1])
        yield name.group(1) if name else "?", i + 1, k - j - 1, count_parameters(signature)
        i = j + 1


def count_parameters(signature):
    depth, count, seen = 0, 0, False
    for c in signature[signature.index("("):]:
        if c in "(<[{":
            depth += 1
        elif c in ")>]}":
            depth -= 1
            if depth == 0:
                break
        elif c == "," and depth == 1:
            count += 1
        elif not c.isspace() and depth >= 1:
            seen = True
    return count + 1 if seen else 0


def check_functions():
    for path in tracked(".h", ".cc", ".cuh"):
        if is_test(path):
            continue
        limit = KERNEL_LINES if path.startswith("src/kernels/") else FUNCTION_LINES
        for name, line, length, parameters in functions(text_of(path)):
            if length > limit:
                yield f"{path}:{name}", f"line {line}: {length} lines, the limit is {limit}"
            if parameters > PARAMETERS and not path.startswith("src/kernels/cuda/device"):
                yield f"{path}:{name}", f"line {line}: {parameters} parameters, the limit is 5"


def check_banned():
    for path in tracked(".h", ".cc"):
        text = code_only(text_of(path))
        if path.endswith(".h") and "#pragma once" not in text:
            yield path, "no #pragma once"
        for pattern, what in BANNED:
            if "getenv" in what and path in ("src/base/env.cc", "src/base/env.h"):
                continue
            if "printf" in what and (is_test(path) or path.startswith("examples/")):
                continue
            for match in re.finditer(pattern, text):
                yield f"{path}:{text.count(chr(10), 0, match.start()) + 1}", f"banned: {what}"
        if not is_test(path):
            for macro in re.findall(r"^\s*#\s*define\s+(\w+)", text, re.M):
                if macro not in MACROS:
                    yield path, f"macro {macro} is not on the list"
        if re.search(r"^\s*#\s*if(n?def)?\b(?!.*(__has_feature|__SANITIZE|NDEBUG|__clang__|X\b))",
                     text, re.M) and path.startswith("src/"):
            yield path, "conditional compilation: an absent backend is a file"


def check_markdown():
    for path in tracked(".md"):
        if path.startswith(("tests/data",)):
            continue
        for target in re.findall(r"\]\((?!http|#|mailto)([^)#]+)", text_of(path)):
            if not (ROOT / path).parent.joinpath(target).exists():
                yield path, f"link to {target} leads nowhere"


def check_format():
    tool = shutil.which("clang-format-16")
    if tool is None:
        yield "clang-format-16", "not installed; make deps installs it"
        return
    files = tracked(".h", ".cc", ".cuh")
    for start in range(0, len(files), 50):
        out = subprocess.run([tool, "--dry-run"] + files[start:start + 50], cwd=ROOT,
                             capture_output=True, text=True).stderr
        for path in sorted(set(re.findall(r"^([^:\s]+):\d+:\d+: warning", out, re.M))):
            yield path, "not formatted: make format"


def check_budgets():
    names = re.findall(r'\{"(RAMJET_\w+)"', text_of("src/base/env.cc"))
    if len(names) > 12:
        yield "src/base/env.cc", f"{len(names)} environment variables, the budget is 12"
    for path in tracked(".cc"):
        if path.startswith("apps/") and "bench_serve" not in path:
            flags = len(re.findall(r"add_(?:option|flag)\w*\(", text_of(path)))
            if flags > 40:
                yield path, f"{flags} flags, the budget is 40"


def check_files():
    """Nothing built, fetched or huge is committed."""
    out = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout
    for path in out.split():
        full = ROOT / path
        if not full.exists():
            continue
        if full.stat().st_size > 13 * 1024 * 1024:
            yield path, "larger than 13 MiB"
        if path.endswith((".o", ".a", ".so", ".cubin", ".pyc", ".engine")) and \
                not path.startswith("tests/"):
            yield path, "build output"


CHECKS = {name[6:]: function for name, function in list(globals().items())
          if name.startswith("check_")}


def main():
    exempt, problems = {}, []
    for number, line in enumerate(EXEMPTIONS.read_text().splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        fields = line.split(None, 2)
        if len(fields) < 3:
            problems.append(f"exemptions.txt:{number}: an exemption needs a reason")
            continue
        exempt[(fields[0], fields[1])] = False
    wanted = sys.argv[1:] or list(CHECKS)
    passed = failed = 0
    for name in wanted:
        found = []
        for where, what in CHECKS[name]():
            key = (name, where)
            if key in exempt:
                exempt[key] = True
            else:
                found.append(f"{where}: {what}")
        for line in found:
            print(f"tidy {name}: {line}")
        passed, failed = passed + (not found), failed + bool(found)
    for (name, where), used in exempt.items():
        if name in wanted and not used:
            problems.append(f"exemptions.txt: {name} {where} is no longer needed")
    for problem in problems:
        print(f"tidy exemptions: {problem}")
    passed, failed = passed + (not problems), failed + bool(problems)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
