"""A small imitation of the Hugging Face hub: the description of a model, HEAD with etag and size,
redirects of large files to another host (another port), ranges; and faults on demand."""

import hashlib
import json
import re
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LARGE = 1 << 20


def etag_of(data):
    if len(data) >= LARGE:
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class Hub:
    """`files`: name -> bytes of the model `repo`. Attributes below change its ways."""

    def __init__(self, repo, files):
        self.repo, self.files = repo, files
        self.token = None  # what clients must send
        self.status = 0  # answer everything with this
        self.ranges = True
        self.cut_after = 0  # bytes after which a large answer breaks, `cuts` times
        self.cuts = 0
        self.lie = {}  # name -> other bytes of the same length
        self.log = []  # (host, method, path, range, authorization)
        self.lock = threading.Lock()
        self.hub = ThreadingHTTPServer(("127.0.0.1", 0), self.handler("hub"))
        self.store = ThreadingHTTPServer(("127.0.0.1", 0), self.handler("store"))
        for server in (self.hub, self.store):
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.hub.server_port}"

    def speak_tls(self, certificate, key):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.hub.socket = context.wrap_socket(self.hub.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self.hub.server_port}"

    def close(self):
        for server in (self.hub, self.store):
            server.shutdown()
            server.server_close()

    def handler(hub, host):
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def reply(self, status, body=b"", **headers):
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name.replace("_", "-"), value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def do_HEAD(self):
                self.answer()

            def do_GET(self):
                self.answer()

            def answer(self):
                with hub.lock:
                    hub.log.append((host, self.command, self.path, self.headers.get("Range"),
                                    self.headers.get("Authorization")))
                if hub.status:
                    return self.reply(hub.status)
                if host == "hub" and hub.token and self.headers.get("Authorization") != f"Bearer {hub.token}":
                    return self.reply(401)
                if self.path == f"/api/models/{hub.repo}/revision/main":
                    siblings = [{"rfilename": name} for name in hub.files]
                    return self.reply(200, json.dumps({"sha": COMMIT, "siblings": siblings}).encode())
                match = re.fullmatch(f"/{hub.repo}/resolve/{COMMIT}/(.*)|/blob/(.*)", self.path)
                name = match and (match.group(1) or match.group(2))
                if name not in hub.files:
                    return self.reply(404)
                data = hub.files[name]
                large = len(data) >= LARGE
                facts = {"ETag": f'"{etag_of(data)}"', "X_Repo_Commit": COMMIT}
                if host == "hub" and large:
                    facts = {"X_Linked_ETag": facts["ETag"], "X_Linked_Size": str(len(data)), "ETag": '"other"',
                             "Location": f"http://127.0.0.1:{hub.store.server_port}/blob/{name}"}
                    return self.reply(302, **facts)
                if self.command == "HEAD":
                    self.send_response(200)
                    for key, value in facts.items():
                        self.send_header(key.replace("_", "-"), value)
                    self.send_header("Content-Length", str(len(data)))
                    return self.end_headers()
                self.send_body(hub.lie.get(name, data), facts, large)

            def send_body(self, data, facts, large):
                wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range") or "")
                status = 200
                if wanted and hub.ranges:
                    begin, end = int(wanted.group(1)), int(wanted.group(2)) + 1
                    facts["Content_Range"] = f"bytes {begin}-{end - 1}/{len(data)}"
                    data, status = data[begin:end], 206
                with hub.lock:
                    cut = large and hub.cuts > 0 and hub.cut_after < len(data)
                    hub.cuts -= cut
                if not cut:
                    return self.reply(status, data, **facts)
                self.send_response(status)
                for key, value in facts.items():
                    self.send_header(key.replace("_", "-"), value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data[:hub.cut_after])
                self.wfile.flush()
                self.close_connection = True

        return Handler
