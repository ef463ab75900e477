"""An S3-compatible server on loopback, for tests and benchmarks: moto's, one request at a time.

moto looks whether an object is there and then writes it, which is two steps: only where requests do not overlap does it
grant a conditional create once, as S3 does.
"""

import os
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

import boto3
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server


class _Quiet(WSGIRequestHandler):
    def log(self, type: str, message: str, *args) -> None:
        pass


class ObjectStore:
    """Use it as a context manager: inside, the AWS environment variables of this process name it."""

    def __init__(self):
        application, one_at_a_time = DomainDispatcherApplication(create_backend_app), threading.Lock()

        def serve(environ, start_response):
            with one_at_a_time:
                return application(environ, start_response)

        self._server = make_server("127.0.0.1", 0, serve, threaded=True, request_handler=_Quiet)
        self.url = f"http://127.0.0.1:{self._server.port}"
        self.environment = {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "sher2",
            "AWS_SECRET_ACCESS_KEY": "a secret of this machine",
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def __enter__(self) -> Self:
        self._before = {name: os.environ.get(name) for name in self.environment}
        os.environ |= self.environment
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.client = boto3.client("s3")
        return self

    def __exit__(self, *exception) -> None:
        self._server.shutdown()
        for name, value in self._before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value

    def bucket(self, name: str) -> str:
        """A new bucket; returns its URL."""
        self.client.create_bucket(Bucket=name)
        return f"s3://{name}"

    def put(self, url: str, content: str | bytes) -> None:
        bucket, _, key = url.removeprefix("s3://").partition("/")
        self.client.put_object(Bucket=bucket, Key=key, Body=content if isinstance(content, bytes) else content.encode())

    @contextmanager
    def asking_for_permission(self) -> Iterator[None]:
        """Inside, nobody may do anything."""
        self._let_pass(0)
        try:
            yield
        finally:
            self._let_pass(10**12)

    def _let_pass(self, requests: int) -> None:
        request = urllib.request.Request(
            f"{self.url}/moto-api/reset-auth", str(requests).encode(), {"Content-Type": "text/plain"}
        )
        urllib.request.urlopen(request).close()

    def names(self, url: str) -> list[str]:
        """Every object of a bucket, by name."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=url.removeprefix("s3://"))
        return [item["Key"] for page in pages for item in page.get("Contents", [])]


