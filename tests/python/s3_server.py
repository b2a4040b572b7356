"""A real S3 server process, and a proxy before it that fails as object stores do."""

import http.client
import http.server
import random
import socket
import subprocess
import sys
import threading
import time
import urllib.request

import boto3

from cluster import free_port, wait_for


class S3Server:
    """moto's server as a process, with one bucket."""

    def __init__(self, bucket):
        self.bucket, self.port = bucket, free_port()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        self.endpoint = f"http://127.0.0.1:{self.port}"
        wait_for("the S3 server", lambda: urllib.request.urlopen(self.endpoint, timeout=2).status == 200)
        self.client = boto3.client(
            "s3", endpoint_url=self.endpoint, region_name="us-east-1",
            aws_access_key_id="key", aws_secret_access_key="secret",
        )
        self.client.create_bucket(Bucket=bucket)

    def names(self):
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket)
        return [entry["Key"] for page in pages for entry in page.get("Contents", [])]

    def stop(self):
        self.process.kill()
        self.process.wait()


def volume(name, endpoint, prefix):
    """Declares a storage volume in the bucket `tarn`."""
    return (
        f'create storage volume {name} type = s3 locations = ("s3://tarn/{prefix}") properties ("enabled" = "true", '
        f'"aws.s3.region" = "us-east-1", "aws.s3.endpoint" = "{endpoint}", "aws.s3.access_key" = "key", '
        '"aws.s3.secret_key" = "secret", "aws.s3.enable_path_style_access" = "true", "aws.s3.enable_ssl" = "false")'
    )


class FaultyProxy:
    """Passes requests on. Of a hundred, `weather` says how many get which fault."""

    def __init__(self, server):
        self.server, self.port = server, free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.weather = {}
        self.random = random.Random(7)
        self.counts = {}
        # The server looks and then writes: a real one does both at once.
        self.conditional = threading.Lock()
        handler = type("Handler", (_Handler,), {"proxy": self})
        self.http = _Server(("127.0.0.1", self.port), handler)
        self.thread = threading.Thread(target=self.http.serve_forever, daemon=True)
        self.thread.start()

    def fault(self):
        drawn = self.random.randrange(100)
        for fault, share in self.weather.items():
            if drawn < share:
                self.counts[fault] = self.counts.get(fault, 0) + 1
                return fault
            drawn -= share
        return None

    def stop(self):
        self.http.shutdown()
        self.http.server_close()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, request, client_address):
        # Clients are killed in the middle of requests.
        pass


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy = None

    def log_message(self, *_):
        pass

    def forward(self):
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length else b""
        if len(body) < length:
            self.close_connection = True
            return
        fault = self.proxy.fault()
        if fault in ("500", "503"):
            return self.answer(int(fault), [], b"<Error><Code>SlowDown</Code></Error>")
        if fault == "slow":
            time.sleep(self.proxy.random.uniform(0.5, 2.0))
        if self.command == "PUT" and self.headers.get("If-None-Match"):
            with self.proxy.conditional:
                status, headers, data = self.ask(body)
        else:
            status, headers, data = self.ask(body)
        if fault == "unanswered":
            # It is done, and nobody hears of it.
            return self.hang_up()
        if fault == "torn":
            return self.tear(status, headers, data)
        self.answer(status, headers, data)

    def ask(self, body):
        connection = http.client.HTTPConnection("127.0.0.1", self.proxy.server.port, timeout=60)
        try:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in ("connection", "transfer-encoding"):
                    connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()

    def head(self, status, headers, length):
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in ("connection", "content-length", "transfer-encoding", "server", "date"):
                self.send_header(name, value)
        if self.command == "HEAD":
            length = next((v for n, v in headers if n.lower() == "content-length"), length)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def answer(self, status, headers, data):
        self.head(status, headers, len(data))
        if self.command != "HEAD":
            self.wfile.write(data)

    def tear(self, status, headers, data):
        """The head promises more than comes."""
        self.head(status, headers, len(data))
        self.wfile.write(data[: len(data) // 2])
        self.hang_up()

    def hang_up(self):
        self.close_connection = True
        try:
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = forward
