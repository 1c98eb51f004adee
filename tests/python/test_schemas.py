"""What a model writes under random schemas is valid for Python's jsonschema (random_schemas.py has more)."""

import random_schemas


def test_random_schemas(server):
    counts, wrong = random_schemas.run(server, 60, seed=7, max_tokens=120)
    assert not wrong, "\n".join(wrong)
    assert counts["passed"] >= 40, counts
