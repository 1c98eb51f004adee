"""Random JSON Schemas of what can be enforced, and a model's answers under them.

Usage: random_schemas.py [--count N] [--seed N] [--print] [SERVE FLAGS]. Each schema is a request at temperature 1;
every answer that ends by itself must be valid for Python's `jsonschema`. Ends with "N passed, N failed,
N skipped" (skipped: refused by a keyword, or cut off at max_tokens). --print writes the schemas alone, a line each.
"""

import argparse
import decimal
import json
import random
import sys
from concurrent.futures import ThreadPoolExecutor

WORDS = ["name", "id", "size", "tags", "état", "a b", "next", "x", "count", "kind", "$v", "ü"]
FORMATS = ["date", "ipv4", "ipv6", "email", "uuid"]  # those that `jsonschema` checks by itself
PATTERNS = ["^[a-z]{2,6}$", "^(yes|no)$", "[0-9]{3}", "^\\d+-\\w$", "^[A-Z][a-z]*( [a-z]+){0,2}$", "e"]


def string(rng, depth):
    schema = {"type": "string"}
    kind = rng.random()
    if kind < 0.25:
        return schema | {"pattern": rng.choice(PATTERNS), "maxLength": 20}
    if kind < 0.45:
        return schema | {"format": rng.choice(FORMATS), "maxLength": 60}
    schema["maxLength"] = rng.randint(0, 20)
    if rng.random() < 0.4:
        schema["minLength"] = rng.randint(0, schema["maxLength"])
    return schema


def number(rng, depth):
    schema = {"type": rng.choice(["number", "integer"])}
    if rng.random() < 0.8:
        low = rng.randint(-2000, 2000) / rng.choice([1, 1, 2, 8])
        schema[rng.choice(["minimum", "exclusiveMinimum"])] = low
        schema[rng.choice(["maximum", "exclusiveMaximum"])] = low + rng.choice([8, 17.5, 3000])
    if rng.random() < 0.3:
        schema["multipleOf"] = rng.choice([1, 2, 3, 0.5, 0.25] if schema["type"] == "number" else [1, 2, 3])
    return schema


def constant(rng, depth):
    values = [None, True, False, 0, 7, -1.5, "", "ok", "é\n\"", [1, "x"], {"k": [False]}, {}]
    if rng.random() < 0.3:
        return {"const": rng.choice(values)}
    return {"enum": rng.sample(values, rng.randint(1, 5))}


def array(rng, depth):
    schema = {"type": "array", "maxItems": rng.randint(1, 4)}
    if rng.random() < 0.25:
        schema |= {"items": {"enum": ["a", "b", "c", 1, 2, None]}, "uniqueItems": True, "maxItems": 4}
        return schema
    if rng.random() < 0.3:
        schema["prefixItems"] = [any_schema(rng, depth + 1) for _ in range(rng.randint(1, 2))]
    schema["items"] = any_schema(rng, depth + 1)
    if rng.random() < 0.3:
        schema["minItems"] = rng.randint(0, schema["maxItems"])
    if rng.random() < 0.1:
        schema |= {"contains": {"type": "integer"}, "items": {"type": ["integer", "null"]}, "minItems": 1}
        schema.pop("prefixItems", None)
    return schema


def object_(rng, depth):
    names = rng.sample(WORDS, rng.randint(0, 4))
    schema = {"type": "object", "properties": {n: any_schema(rng, depth + 1) for n in names}}
    schema["required"] = [n for n in names if rng.random() < 0.5]
    kind = rng.random()
    if kind < 0.6:
        schema["additionalProperties"] = False
    elif kind < 0.75:
        schema |= {"additionalProperties": {"type": "boolean"}, "maxProperties": len(names) + 2}
    elif kind < 0.85:
        schema |= {"patternProperties": {"^p_[a-z]{1,3}$": {"type": "integer", "minimum": 0, "maximum": 9}},
                   "additionalProperties": False, "maxProperties": len(names) + 2}
    else:
        schema["unevaluatedProperties"] = False
    if names and rng.random() < 0.15:
        schema["dependentRequired"] = {names[0]: names[1:2]}
    return schema


def combined(rng, depth):
    kind = rng.choice(["anyOf", "oneOf", "allOf", "not", "if"])
    parts = [any_schema(rng, depth + 1) for _ in range(2)]
    if kind == "allOf":
        return {"type": "integer", "allOf": [{"minimum": rng.randint(0, 9)}, {"maximum": rng.randint(9, 99)}]}
    if kind == "not":
        return {"type": ["string", "boolean"], "maxLength": 5, "not": {"enum": ["a", True]}}
    if kind == "if":
        return {"type": "object", "properties": {"kind": {"enum": ["s", "n"]}, "v": {}}, "required": ["kind", "v"],
                "additionalProperties": False, "if": {"properties": {"kind": {"const": "s"}}},
                "then": {"properties": {"v": {"type": "string", "maxLength": 9}}},
                "else": {"properties": {"v": {"type": "integer", "minimum": -9, "maximum": 9}}}}
    return {kind: parts}


def any_schema(rng, depth=0):
    if depth > 3:
        return rng.choice([string, number, constant])(rng, depth)
    makers = [string, number, constant, array, object_, object_, combined]
    if depth and rng.random() < 0.06:
        return {"$ref": "#/$defs/tree"}
    return rng.choice(makers)(rng, depth)


def random_schema(rng):
    schema = object_(rng, 0) if rng.random() < 0.7 else any_schema(rng)
    tree = {"type": "object", "properties": {"v": {"type": "integer", "minimum": 0, "maximum": 99},
                                             "kids": {"type": "array", "items": {"$ref": "#/$defs/tree"},
                                                      "maxItems": 2}},
            "required": ["v"], "additionalProperties": False}
    return schema | {"$defs": {"tree": tree}} if "#/$defs/tree" in json.dumps(schema) else schema


def problem(schema, text):
    """What `jsonschema` has against the text, or None; numbers are exact decimals."""
    import jsonschema

    decimal.getcontext().prec = 80
    exact = json.loads(json.dumps(schema), parse_float=decimal.Decimal)
    cls = jsonschema.Draft202012Validator
    try:
        value = json.loads(text, parse_float=decimal.Decimal)
    except ValueError as error:
        return str(error)
    found = next(cls(exact, format_checker=cls.FORMAT_CHECKER).iter_errors(value), None)
    return found and found.message


def ask(post, model, schema, seed, max_tokens):
    """"passed", "skipped" or what is wrong"""
    answer = post("/v1/completions", {"model": model, "prompt": "Write it down:", "guided_json": schema,
                                      "temperature": 1, "seed": seed, "max_tokens": max_tokens})
    if answer.status_code == 400 and answer.json()["error"]["message"].startswith("guided_json: '"):
        return "skipped"
    if answer.status_code != 200:
        return f"{answer.status_code} {answer.text[:200]}"
    choice = answer.json()["choices"][0]
    if choice["finish_reason"] != "stop":
        return "skipped" if choice["finish_reason"] == "length" else choice["finish_reason"]
    wrong = problem(schema, choice["text"])
    return f"{choice['text'][:200]}: {wrong}" if wrong else "passed"


def run(server, count, seed, max_tokens=400, clients=16):
    """(counts, complaints) over `count` schemas"""
    rng = random.Random(seed)
    schemas = [random_schema(rng) for _ in range(count)]

    def post(path, body):
        return server.session.post(server.url + path, json=body, timeout=900)

    with ThreadPoolExecutor(clients) as pool:
        results = list(pool.map(lambda i: ask(post, server.model, schemas[i], i, max_tokens), range(count)))
    counts = {name: results.count(name) for name in ("passed", "skipped")}
    wrong = [f"{json.dumps(s)}\n  {r}" for s, r in zip(schemas, results) if r not in counts]
    return counts | {"failed": len(wrong)}, wrong


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--print", action="store_true")
    args, flags = parser.parse_known_args()
    if args.print:
        rng = random.Random(args.seed)
        for _ in range(args.count):
            print(json.dumps(random_schema(rng)))
        return 0
    from conftest import Server, running_server

    with running_server(*flags) as (_, url):
        counts, wrong = run(Server(url, ""), args.count, args.seed)
    print("\n".join(wrong))
    print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
    return 1 if wrong or counts["passed"] < args.count * 0.8 else 0


if __name__ == "__main__":
    sys.exit(main())
