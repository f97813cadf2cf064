"""Stores on other machines, as servers in this process: S3 by moto, FTP by pyftpdlib."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

PASSWORD = "swordfish"


@contextmanager
def s3(patch: pytest.MonkeyPatch) -> Iterator[str]:
    """Yield the URL of a bucket; the environment says how it is reached, for children too."""
    from moto.server import ThreadedMotoServer
    from s3fs import S3FileSystem

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in (
        ("AWS_ENDPOINT_URL", f"http://{host}:{port}"),
        ("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", PASSWORD),
        ("AWS_DEFAULT_REGION", "us-east-1"),
    ):
        patch.setenv(name, value)
    S3FileSystem.clear_instance_cache()
    bucket = uuid4().hex  # moto's buckets are those of all its servers in a process
    S3FileSystem().mkdir(bucket)
    try:
        yield f"s3://{bucket}"
    finally:
        server.stop()


@contextmanager
def ftp(folder: Path) -> Iterator[str]:
    """Yield the URL of a server of a folder, password and all."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # asyncore
        from pyftpdlib.authorizers import DummyAuthorizer
        from pyftpdlib.handlers import FTPHandler
        from pyftpdlib.servers import FTPServer

    class Handler(FTPHandler):  # type: ignore[misc]
        authorizer = DummyAuthorizer()

    Handler.authorizer.add_user("me", PASSWORD, str(folder), perm="elradfmwMT")
    server = FTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"timeout": 0.05, "handle_exit": False}
    )
    thread.start()
    try:
        yield f"ftp://me:{PASSWORD}@127.0.0.1:{server.address[1]}"
    finally:
        server.close_all()
        thread.join()
