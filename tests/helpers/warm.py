"""`rope-eval` and `python` as programs that start at once: a process that has imported all forks.

A page of the documentation starts them dozens of times, and most of such a start is the import of
torch, transformers and lm-eval. What each command does is its own: its folder, its environment, its
streams, its exit status, and nothing of it is left for the next.
"""

from __future__ import annotations

import json
import os
import runpy
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BUSY = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}  # what libraries read when they are imported
_CLIENT = """\
#!{python} -IS
import array, json, os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    words = [os.path.basename(sys.argv[0]), *sys.argv[1:]]
    asked = json.dumps([words, os.getcwd(), dict(os.environ)]).encode()
    socket.send_fds(server, [len(asked).to_bytes(4, "big")], [0, 1, 2])
    server.sendall(asked)
    status = server.recv(1)
sys.exit(status[0] if status else 1)
"""
_IMPORTED = (
    "lm_eval.__main__",
    "lm_eval.evaluator",
    "lm_eval.models.huggingface",
    "matplotlib.pyplot",
    "transformers.models.llama.modeling_llama",
    "rope_eval.backends.hf.loading",
    "rope_eval.cli",
    "rope_eval.hosts.lm_eval.model",
    "rope_eval.plans.plan",
    "rope_eval.report.page.build",
    "rope_eval.runner",
)


@contextmanager
def warm(folder: Path, package: Path) -> Iterator[Path]:
    """Start the process, and yield the folder of its two programs, for PATH.

    Args:
        folder: an empty one, with a short name: a socket's has 100 characters at most.
        package: the folder that rope_eval is imported from.
    """
    address = str(folder / "socket")
    for name in ("rope-eval", "python"):
        program = folder / name
        program.write_text(_CLIENT.format(python=sys.executable, address=address))
        program.chmod(0o755)
    server = subprocess.Popen(
        [sys.executable, __file__, address],
        env=os.environ | BUSY | {"PYTHONPATH": str(package)},
        cwd=folder,
    )
    try:
        while not Path(address).exists():
            assert server.poll() is None, "the process that runs commands has ended"
            time.sleep(0.05)
        yield folder
    finally:
        server.terminate()
        server.wait()


def _serve(address: str) -> None:
    import gc
    import signal
    from importlib import import_module

    for module in _IMPORTED:
        import_module(module)
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no child is waited for
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{address}.new")
        server.listen()
        Path(f"{address}.new").rename(address)
        while True:
            client, _ = server.accept()
            with client:
                if os.fork() == 0:
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    server.close()
                    status = _answer(client)
                    client.sendall(bytes([status]))
                    client.close()
                    os._exit(status)


def _answer(client: socket.socket) -> int:
    length, streams, _, _ = socket.recv_fds(client, 4, 3)
    with client.makefile("rb") as stream:
        words, folder, environment = json.loads(stream.read(int.from_bytes(length, "big")))
    for number, stream_of in enumerate(streams):
        os.dup2(stream_of, number)
        os.close(stream_of)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = words
    try:
        status = _main(words)
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
        status = 1
    import atexit
    import threading

    atexit._run_exitfuncs()
    for one in threading.enumerate():
        if one is not threading.current_thread() and not one.daemon:
            one.join()
    sys.stdout.flush()
    sys.stderr.flush()
    return status


def _main(words: list[str]) -> int:
    if words[0] == "rope-eval":
        from rope_eval.cli import main

        return main()
    option, script, *sys.argv[1:] = words[1:]
    if option == "-m":
        runpy.run_module(script, run_name="__main__", alter_sys=True)
        return 0
    assert option == "-c", words
    exec(compile(script, "<page>", "exec"), {"__name__": "__main__"})
    return 0


if __name__ == "__main__":
    del sys.path[0]  # the helpers' own
    _serve(sys.argv[1])
