#!/usr/bin/env python3
"""Random templates through `ramjet template` and through jinja2 as transformers sets it up.

Usage: template_differential.py RAMJET [--cases N] [--seed S]. Both must render the same bytes, or
both must raise. Prints each difference with its seed; ends with "N passed, N failed".
"""
import argparse
import copy
import datetime
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

from transformers.utils import chat_template_utils

NOW = "2024-07-26T12:34:56.789000"


class FixedTime(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return datetime.datetime.fromisoformat(NOW)


chat_template_utils.datetime = FixedTime

CONTEXT = {
    "n": 7, "zero": 0, "neg": -3, "big": 2**53 + 1, "u64": 2**64 - 1, "f": 2.5, "tiny": 1e-7,
    "huge": 1.5e300, "t": True, "no": False, "nil": None, "s": "Hello, World", "e": "",
    "uni": "Straße ÉCOLE ǅ ﬁn 你好 🚀 İ ΑΣ", "ws": " \t two\n lines \r\nx\u2028y ", "num": " 42 ",
    "quote": "it's \"so\" <b>&amp;</b> \\ \x07\u200b", "items": [3, 1, 2], "mixed": [1, "a", None, 2.0, True],
    "words": ["pear", "Apple", "fig", "apple"], "d": {"b": 1, "a": [1, 2], "items": "shadow", "Z": None},
    "rows": [{"k": "x", "v": 3, "in": {"z": 1}}, {"k": "Y", "v": 1}, {"k": "x", "v": 2, "in": {"z": 0}}],
    "messages": [{"role": "system", "content": "Be good."}, {"role": "user", "content": "Hi <there>\n"},
                 {"role": "assistant", "content": "", "tool_calls": [{"name": "f", "args": {"x": 1}}]},
                 {"role": "user", "content": [{"type": "text", "text": "part"}]}],
}

LITERALS = ["0", "1", "2", "-1", "3", "10", "1.5", "0.1", "1e3", "2.0", "true", "false", "none", "'a'", "''",
            "'b c'", "'xYz'", "\"q'q\"", "'é\\n'", "[]", "[1, 2]", "['a', 'b', 'a']", "(1, 2)", "()", "(1,)",
            "{}", "{'a': 1}", "{'x': {'y': [0, 1]}}", "{1: 'one', none: 2}", "1_000", "0x1F", "'a' 'b'"]
ATOMS = [x for x in LITERALS if x[0] not in "-0123456789" and x not in ("true", "false", "none")]
NAMES = list(CONTEXT) + ["missing", "missing", "x", "y", "ns"]
ATTRIBUTES = ["a", "b", "items", "keys", "role", "content", "k", "in", "z", "upper", "nope", "values", "append", "__class__", "_x"]
FILTERS = ["upper", "lower", "title", "capitalize", "trim", "length", "count", "list", "first", "last", "sort", "reverse|list",
           "unique|list", "join", "join(',')", "join('-', attribute='k')", "int", "float", "string", "abs", "round", "round(1)",
           "round(1, 'ceil')", "round(0, 'floor')", "round(-1)", "tojson", "tojson(indent=2)", "tojson(sort_keys=true)",
           "tojson(ensure_ascii=true)", "tojson(separators=(',', ':'))", "default('D')", "d('D', true)", "e", "safe", "escape",
           "replace('a', 'bb')", "replace('l', 'L', 1)", "sum", "sum(start=10)", "min", "max", "items|list", "dictsort",
           "dictsort(true, 'value')", "batch(2)|list", "batch(2, 'F')|list", "slice(2)|list", "slice(3, 'F')|list", "map('upper')|list",
           "map(attribute='k')|list", "map(attribute='in.z', default='Q')|list", "select|list", "select('odd')|list",
           "reject('none')|list", "selectattr('in')|list", "selectattr('v', 'gt', 1)|list", "rejectattr('k', 'equalto', 'x')|list",
           "groupby('k')|list", "center(20)", "indent", "indent(2, true)", "indent('> ', true, true)", "truncate(8)",
           "truncate(9, true)", "truncate(5, false, '..', 0)", "wordcount", "wordwrap(5)", "urlencode", "xmlattr", "striptags",
           "format(1, 2)", "attr('upper')", "attr('a')", "filesizeformat", "int(0, 16)", "int(default=5)", "float(1.5)",
           "sort(reverse=true)", "sort(attribute='v')", "sort(case_sensitive=true)", "unique(attribute='k')|list", "forceescape",
           "max(attribute='v')", "map('int')|sum", "trim('Hd')", "random_filter", "pprint"]
TESTS = ["defined", "undefined", "none", "string", "number", "integer", "float", "boolean", "mapping", "iterable",
         "sequence", "callable", "true", "false", "odd", "even", "divisibleby 2", "divisibleby(3)", "lower", "upper",
         "in [1, 2, 'a']", "in s", "eq 1", "ne 1", "gt 1", "lt(2)", "ge 2", "le 2", "sameas true", "sameas none", "equalto('a')",
         "filter", "test", "escaped", "lessthan 3", "greaterthan 0"]
METHODS = [".upper()", ".lower()", ".strip()", ".lstrip('H ')", ".rstrip('d ')", ".split()", ".split(',')", ".split(' ', 1)",
           ".rsplit(' ', 1)", ".splitlines()", ".splitlines(true)", ".startswith('H')", ".endswith(('d', 'x'))", ".find('l')", ".rfind('l')",
           ".find('l', 4)", ".count('l')", ".index('o')", ".replace('l', 'LL')", ".replace('l', 'L', 1)", ".title()", ".capitalize()",
           ".swapcase()", ".casefold()", ".isdigit()", ".isalpha()", ".isalnum()", ".isspace()", ".isupper()", ".islower()",
           ".istitle()", ".isidentifier()", ".isnumeric()", ".isdecimal()", ".isprintable()", ".isascii()", ".zfill(8)", ".center(15, '*')",
           ".ljust(15)", ".rjust(15, '.')", ".partition(',')", ".rpartition('o')", ".removeprefix('He')", ".removesuffix('ld')",
           ".join(['a', 'b'])", ".expandtabs(4)", ".format(1, k=2)", ".items()", ".keys()", ".values()", ".get('a')",
           ".get('q', 'dflt')", ".items()|list", ".copy()", ".index(1)", ".count(1)", ".append(1)", ".pop()", ".update({})",
           ".bit_length()", ".is_integer()", ".encode", ".nothing()", ".a", ".b[0]", "['a']", "[0]", "[-1]", "[1:]", "[:2]", "[::-1]",
           "[::2]", "[-2:]", "[5:1:-2]", "[none:1]", "['items']", ".0", ".1", "[99]", "[missing]", "[1.0]", "[true]"]
FORMATS = ["'%s|%d' % ({0}, {1})", "'%5.2f' % {0}", "'%r' % ({0},)", "'%x %o' % ({0}, {1})", "'%-6s|%6s' % ({0}, {1})",
           "'%05d' % {0}", "'%+d' % {0}", "'%(a)s' % {0}", "'%e' % {0}", "'%g' % {0}", "'%%' % ()", "'{{}}-{{}}'.format({0}, {1})",
           "'{{0!r:>8}}|{{1:<6}}'.format({0}, {1})", "'{{:,}} {{:.3f}}'.format({0}, {1})", "'{{:^9}}'.format({0})",
           "'{{a[0]}}'.format(a={0})", "'{{:08.2f}}'.format({0})", "'{{:+}}'.format({0})", "'{{:x}}'.format({0})", "'{{:e}}'.format({0})",
           "'{{:%}}'.format({0})", "'{{:_d}}'.format({0})", "'%.3s' % {0}", "'%c' % {0}", "'%i' % {0}", "'%5s%%' % {0}"]


# Where ramjet refuses what Python can do; and jinja2 folds constants by other rules than it runs them:
# a literal number, sliced, is undefined instead of an error.
KNOWN_LIMITS = ("128 bits", "complex numbers", "object is not subscriptable", "unhashable type: 'slice'")


class Generator:
    def __init__(self, seed):
        self.r = random.Random(seed)

    def expr(self, depth=3):
        r = self.r
        if depth <= 0 or r.random() < 0.18:
            return r.choice(LITERALS) if r.random() < 0.45 else r.choice(NAMES)
        if r.random() < 0.4:
            return self.typed()
        sub = lambda: self.expr(depth - 1)
        k = r.randrange(24)
        if k < 3:
            return f"{self.atom(depth)}{r.choice(METHODS)}"
        if k < 8:
            return f"{self.atom(depth)}|{r.choice(FILTERS)}"
        if k < 10:
            return f"{self.atom(depth)} is {'not ' if r.random() < .3 else ''}{r.choice(TESTS)}"
        if k < 13:
            return f"{sub()} {r.choice(['+', '-', '*', '/', '//', '%', '~', '+', '~'])} {sub()}"
        if k < 15:
            return f"{sub()} {r.choice(['==', '!=', '<', '<=', '>', '>=', 'in', 'not in'])} {sub()}"
        if k == 15:
            return f"({sub()} {r.choice(['and', 'or'])} {sub()})"
        if k == 16:
            return f"not {sub()}"
        if k == 17:
            return f"({sub()} if {sub()}" + (f" else {sub()})" if r.random() < .7 else ")")
        if k == 18:
            return f"[{sub()}, {sub()}]" if r.random() < .5 else f"({sub()}, {sub()})"
        if k == 19:
            return f"{{{r.choice(['1', repr('k'), repr('a'), sub()])}: {sub()}, 'z': {sub()}}}"
        if k == 20:
            return f"-{self.atom(depth)}" if r.random() < .7 else f"+{self.atom(depth)}"
        if k == 21:
            return r.choice(FORMATS).format(self.atom(1), self.atom(1))
        if k == 22:
            return r.choice(["range({0})|list", "range(1, 6, 2)", "dict(a={0}, b=1)", "dict([('a', {0})])", "range({0})",
                             "strftime_now('%d %b %Y %H:%M:%S.%f %j %a')", "namespace(a={0}).a", "dict({0})", "cycler(1, {0}).next()",
                             "joiner('|')()", "range(5)[{0}]", "(1, {0})[0]"]).format(sub())
        return f"({sub()})"

    def typed(self):
        """An expression that seldom raises."""
        r = self.r
        text = lambda: r.choice(["s", "e", "uni", "ws", "num", "quote", "'a-b c'", "'xYz'", "words[0]", "messages[1].content", "d['items']"])
        number = lambda: r.choice(["n", "zero", "neg", "f", "tiny", "huge", "big", "t", "1.25", "3", "items[0]", "rows[1].v", "u64"])
        listing = lambda: r.choice(["items", "words", "rows", "messages", "mixed", "[1, 2.5]", "('a', 'b')", "range(4)", "d", "s", "d.items()", "[]"])
        n_text = METHODS.index(".items()")
        lists = [f for f in FILTERS if "list" in f or f in ("length", "count", "first", "join", "join(',')", "tojson", "tojson(indent=2)")]
        k = r.randrange(9)
        if k < 3:
            return text() + r.choice(METHODS[:n_text] + ["[1:]", "[::-1]", "[-2:]", "[5:1:-2]", "[0]", "[99]"])
        if k < 5:
            return listing() + "|" + r.choice(lists)
        if k == 5:
            return f"({text()} {r.choice(['+', '~', '<', '==', 'in', 'not in', '>='])} {text()})"
        if k == 6:
            return f"({number()} {r.choice(['+', '-', '*', '//', '%', '/', '<', '==', '~'])} {number()} ** {r.choice([1, 2, -1, 0.5])})"
        if k == 7:
            return f"({text()}|{r.choice(['upper', 'title', 'trim', 'wordcount', 'wordwrap(6)', 'truncate(7)', 'indent', 'int', 'float', 'e', 'urlencode', 'length', 'capitalize', 'center(30)', 'tojson', 'list', 'reverse', 'striptags'])})"
        return f"({number()}|{r.choice(['abs', 'int', 'float', 'round', 'round(1)', 'round(2, chr)', 'string', 'tojson', 'filesizeformat', 'round(0, nil)'])})".replace(", chr", ", 'floor'").replace(", nil", ", 'ceil'")

    def atom(self, depth):
        r = self.r
        if r.random() < .6:
            return r.choice(NAMES)
        if r.random() < .4:
            return r.choice(ATOMS)
        return f"({self.expr(depth - 1)})"

    def tag(self, inner):
        r = self.r
        return "{%" + r.choice(["", "", "-", "+"]) + " " + inner + " " + r.choice(["", "", "-", "+"]) + "%}"

    def text(self):
        return self.r.choice(["", " ", "\n", "  \n", "a", "\n  ", " b \n", "\t", "{", "%}", "x\n\n y", "é ", "{# c #}", "{#- c -#}\n",
                              "{% raw %}{{ r }}{% endraw %}", "  {%- raw -%} {% x {%- endraw -%} \n"])

    def output(self, depth):
        r = self.r
        return "{{" + r.choice(["", "", "-"]) + " " + self.expr(depth) + " " + r.choice(["", "", "-"]) + "}}"

    def body(self, depth, in_loop=False):
        return "".join(self.text() + self.statement(depth, in_loop) for _ in range(self.r.randrange(1, 3))) + self.text()

    def statement(self, depth, in_loop=False):
        r = self.r
        if depth <= 0:
            return self.output(2)
        k = r.randrange(20)
        var = r.choice(["x", "y", "s", "n", "loop_var"])
        if k < 5:
            return self.output(3)
        if k < 7:
            tests = self.tag("if " + self.expr(2)) + self.body(depth - 1, in_loop)
            if r.random() < .3:
                tests += self.tag("elif " + self.expr(2)) + self.body(depth - 1, in_loop)
            if r.random() < .5:
                tests += self.tag("else") + self.body(depth - 1, in_loop)
            return tests + self.tag("endif")
        if k < 11:
            source = r.choice(["items", "rows", "words", "messages", "d.items()", "'abc'", "range(3)", "[]", "missing", "d",
                               "rows|map(attribute='v')", "items|reverse", self.expr(2)])
            target = r.choice(["x", "x", "y", "x, y", "s"])
            tail = r.choice(["", "", "", " if x", " if x is defined", " if loop_var is not defined", " recursive"])
            inner = self.body(depth - 1, True)
            if r.random() < .5:
                inner += "{{ " + r.choice(["loop.index", "loop.index0", "loop.first", "loop.last", "loop.length", "loop.revindex",
                                           "loop.previtem", "loop.nextitem", "loop.cycle('a', 'b')", "loop.changed(x)", "loop.depth",
                                           "loop.revindex0", "loop"]) + " }}"
            other = self.tag("else") + self.body(depth - 1, in_loop) if r.random() < .25 else ""
            return self.tag(f"for {target} in {source}{tail}") + inner + other + self.tag("endfor")
        if k < 14:
            kind = r.random()
            if kind < .5:
                return self.tag(f"set {var} = {self.expr(3)}")
            if kind < .6:
                return self.tag(f"set {var}, y = {self.expr(2)}, {self.expr(1)}")
            if kind < .8:
                return self.tag("set ns = namespace(a=1)") + self.tag(f"set ns.a = {self.expr(2)}") + "{{ ns.a }}"
            return self.tag(f"set {var}{r.choice(['', ' | upper', ' | trim'])}") + self.body(depth - 1) + self.tag("endset")
        if k == 14:
            return (self.tag(f"macro m({r.choice(['', 'x', 'x, y=2', 'x=1, y=x', 'x, s=n'])})") + self.body(depth - 1) +
                    r.choice(["", "{{ varargs }}", "{{ kwargs }}", "{{ caller() if caller }}"]) + self.tag("endmacro") +
                    r.choice(["{{ m(1) }}", "{{ m(1, 2) }}", "{{ m(y=3) }}", "{{ m(1, q=2) }}", "{% call m(1) %}C{% endcall %}",
                              "{{ m(*[1]) }}", "{{ m(**{'x': 5}) }}", "{{ m.name }}{{ m.arguments }}", "{{ m }}"]))
        if k == 15:
            return self.tag(f"with {var} = {self.expr(2)}") + self.body(depth - 1, in_loop) + self.tag("endwith")
        if k == 16:
            return self.tag(f"filter {r.choice(['upper', 'trim', 'indent(2)', 'upper|replace(n, s)', 'length'])}") + self.body(depth - 1) + self.tag("endfilter")
        if k == 17 and in_loop:
            return self.tag(r.choice(["break", "continue"])) if r.random() < .4 else self.tag("if " + self.expr(1)) + self.tag(
                r.choice(["break", "continue"])) + self.tag("endif")
        if k == 18:
            return self.tag("generation") + self.body(depth - 1) + self.tag("endgeneration")
        return self.output(3)

    def template(self):
        if self.r.random() < .6:
            return "".join(self.output(3) + "|" for _ in range(2))
        return self.body(3)


def reference(source):
    """("ok", text), ("raised", why), or ("skip", why) for what no rendering can be compared with."""
    try:
        text = chat_template_utils._cached_compile_jinja_template(source).render(
            **copy.deepcopy(CONTEXT))  # some filters change a list in place
        text.encode()
    except (RecursionError, MemoryError) as e:
        return "skip", str(e)
    except UnicodeEncodeError:
        return "raised", "surrogates"
    except Exception as e:
        return "raised", f"{type(e).__name__}: {e}"
    # Addresses of objects, and integers beyond 128 bits.
    if " at 0x" in text or "0x7f" in text:
        return "skip", "an address"
    return "ok", text


def ours(ramjet, folder, source):
    path = folder / "t.jinja"
    path.write_bytes(source.encode())
    done = subprocess.run([ramjet, "template", str(path), "--context", str(folder / "c.json"), "--now", NOW],
                          capture_output=True, timeout=60)
    if done.returncode == 0:
        return "ok", done.stdout.decode()
    return ("raised" if done.returncode == 1 else f"exit {done.returncode}"), done.stderr.decode()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("ramjet")
    parser.add_argument("--cases", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    passed = failed = skipped = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "c.json").write_text(json.dumps(CONTEXT))
        for seed in range(args.seed, args.seed + args.cases):
            source = Generator(seed).template()
            wanted = reference(source)
            if wanted[0] == "skip":
                skipped += 1
                continue
            got = ours(args.ramjet, folder, source)
            if got[0] == wanted[0] and (got[0] == "raised" or got[1] == wanted[1]):
                passed += 1
                continue
            if got[0] == "raised" and any(limit in got[1] for limit in KNOWN_LIMITS):
                skipped += 1
                continue
            failed += 1
            print(f"seed {seed}: {source!r}\n  jinja2 {wanted}\n  ramjet {got}")
    print(f"{passed} passed, {failed} failed ({skipped} skipped)")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
