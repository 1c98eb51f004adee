"""Time from starting `ramjet serve ENGINE` to the first token of a completion, in seconds.

python3 bench/gpu/start.py RAMJET ENGINE OUT.json
"""
import json
import os
import subprocess
import sys
import time
import urllib.request


def main() -> int:
    ramjet, engine, out = sys.argv[1:4]
    begin = time.monotonic()
    server = subprocess.Popen([ramjet, "serve", engine, "--port", "0", "--no-request-log"],
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        line = server.stdout.readline().split()
        if not line or line[0] != "ready":
            print("the server did not start")
            return 1
        ready = time.monotonic() - begin
        with urllib.request.urlopen(line[1] + "/v1/models", timeout=60) as reply:
            model = json.load(reply)["data"][0]["id"]
        body = json.dumps({"model": model, "prompt": [1, 2, 3], "max_tokens": 1}).encode()
        request = urllib.request.Request(line[1] + "/v1/completions", body,
                                         {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as reply:
            reply.read()
        first = time.monotonic() - begin
    finally:
        server.terminate()
        server.wait(30)
    result = {"ready_s": ready, "first_token_s": first, "engine_bytes": os.path.getsize(engine)}
    with open(out, "w") as file:
        json.dump(result, file, indent=2)
        file.write("\n")
    print(f"ready after {ready:.2f} s, first token after {first:.2f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
