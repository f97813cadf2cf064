"""A run that is killed goes on where it was: real processes, real SIGKILL, at random moments."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from rope_eval.paths import asset

KILLS = 16
SCRIPT = """
import json, os, random, signal, sys, time
from pathlib import Path
import torch, transformers  # imported once, for all children
from rope_eval import runner
from rope_eval.results.store import Store
from rope_eval.rope.spec import RopeSpec
from rope_eval.scoring import tokens
from rope_eval.scoring.documents import Loading

model, folder, kills = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
torch.set_num_threads(1)
request = runner.CumulativeRequest(
    model=model, rope=RopeSpec(log_scale=True, pretrain_theta=10000),
    books="builtin-chapters", lengths=(64, 256), documents=40, loading=Loading(device="cpu"),
)

def child(store, log):
    names = []
    def progress(name, part):
        if name not in names:
            names.append(name)
            os.write(log, (name + "\\n").encode())
    runner.measure(request, store, progress=progress)

def attempt(store, wait):
    # a child that is killed `wait` seconds after its first document began
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(read)
        try:
            child(store, write)
        finally:
            os._exit(0)
    os.close(write)
    begun = os.read(read, 4096)
    if wait is not None:
        time.sleep(wait)
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    while more := os.read(read, 1 << 16):
        begun += more
    os.close(read)
    return begun.decode().split("\\n")[:-1], os.WIFSIGNALED(status)

def kept(store):
    found = list(store.documents.entries())
    whole = {e.run.provenance["document"]: e.path.read_bytes() for e in found
             if e.state == "ok" and e.run.kind == "document"}
    return whole, [e.state for e in found if e.state not in ("ok", "leftover")]

calm = Store(folder / "calm")
start = time.perf_counter()
attempt(calm, None)
(undisturbed,) = calm.runs()
one = undisturbed.provenance["duration_s"] / 40
random.seed(7)
store, lost, killed, had = Store(folder / "killed"), [], 0, {}
for _ in range(kills):
    begun, dead = attempt(store, random.uniform(0, 2.5 * one))
    now, bad = kept(store)
    assert not bad, bad
    assert {name: now[name] for name in had} == had  # none lost, none done again
    assert not set(begun) & set(had), "scored again"
    lost.append(len(set(begun) - set(now)))
    killed += dead
    had = now
middle = len(had)
attempt(store, None)
(run,) = store.runs()
print(json.dumps({
    "killed": killed, "lost": max(lost), "middle": middle, "documents": len(kept(store)[0]),
    "same": run.results == undisturbed.results and run.key == undisturbed.key,
    "leftovers": len(store.sweep(older_than=0)[0]),
    "swept": len(store.sweep(older_than=0)[0]),
}))
"""


def test_a_kill_loses_one_documents_work_at_most(tmp_path: Path) -> None:
    words = [str(asset("model_configs") / "lab" / "base-20"), str(tmp_path), str(KILLS)]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT, *words],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout.splitlines()[-1])
    assert facts["killed"] >= KILLS - 1
    assert facts["lost"] <= 1
    assert facts["middle"] > 0
    assert facts["documents"] == 40
    assert facts["same"]
    assert facts["leftovers"] <= KILLS
    assert facts["swept"] == 0
