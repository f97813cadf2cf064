"""A plan on a Ray cluster: the worker of `rope_eval.plans.worker`, on as many machines as fit.

Ray starts workers, and starts one anew that was lost with its machine. It hands out no units:
workers claim them in the one store, as processes do that were started by hand, so what a lost
worker had done stays done, and what it was at is free when its claim ends.
"""

from __future__ import annotations

import logging
import math
import socket
import sys
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import rope_eval
from rope_eval.errors import DataError, RopeEvalError, SpecError, StoreError
from rope_eval.files import Place
from rope_eval.plans.failures import reason
from rope_eval.plans.plan import Plan
from rope_eval.plans.ray_worker import Board, Order, work_here
from rope_eval.plans.worker import Done
from rope_eval.results.remote import RemoteFolder, folder_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rope_eval.hosts.lm_eval.trackers import Tracking

POLL_SECONDS = 1.0
CANCEL_SECONDS = 10.0
CONNECT_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Fleet:
    """The workers that Ray starts.

    Attributes:
        address: of the cluster; "auto" for the one of this machine, or of RAY_ADDRESS.
        cpus: of each worker.
        gpus: of each worker; None for one where the plan may use one and the cluster has some.
        workers: how many; None for as many as fit.
    """

    address: str = "auto"
    cpus: int = 1
    gpus: float | None = None
    workers: int | None = None

    def __post_init__(self) -> None:
        if self.gpus is not None and not 0 <= self.gpus < math.inf:
            raise SpecError(f"the GPUs of a worker must be 0 or more, got {self.gpus}")
        if self.cpus < 1 or (self.workers is not None and self.workers < 1):
            raise SpecError(
                f"want 1 or more workers of 1 or more CPUs, got {self.workers} of {self.cpus}"
            )


def work_on_ray(
    plan: Plan,
    results: Place,
    fleet: Fleet,
    *,
    retry: bool = False,
    tracking: Sequence[Tracking] = (),
    progress: Callable[[str, float], None] = lambda what, part: None,
) -> Done:
    """Measure what a plan asks for on a cluster, and return what all workers have done.

    Args:
        plan: the plan; its models are at the same paths on every machine, or on the hub.
        results: the store: a folder that all machines share, or a URL.
        fleet: the workers.
        retry: try again what has failed.
        tracking: where workers log the runs that they make.
        progress: told the unit of a worker, and the part of the plan that is done.

    Raises:
        DataError: where Ray is not installed, there is no cluster, or its machines lack something.
        SpecError: where no machine of the cluster is large enough.
        StoreError: where the store cannot be written, or is damaged.
    """
    ray = _connected(fleet.address)
    try:
        gpus = _gpus(ray, plan, fleet)
        count = fleet.workers or _fitting(ray, fleet.cpus, gpus)
        with _shared(results) as (place, witness):
            order = Order(
                plan=replace(plan, asked=()),  # where its lines stand is the command's matter
                results=place,
                retry=retry,
                folder=Path.cwd(),
                command=sys.argv,
                version=rope_eval.__version__,
                witness=witness,
                paths=_paths(plan),
                tracking=tuple(tracking),
            )
            # a worker that is lost is started again, however often: its cell is what fails then
            start = ray.remote(work_here).options(
                name="rope-eval run",
                num_cpus=fleet.cpus,
                num_gpus=gpus,
                max_retries=-1,
                scheduling_strategy="SPREAD",
            )
            board = ray.remote(Board).options(num_cpus=0, max_restarts=-1).remote()
            shared = ray.put(order)
            workers = [start.remote(shared, f"{i + 1}/{count}", board) for i in range(count)]
            done, errors = _all_of(ray, workers, board, progress)
    finally:
        ray.shutdown()
    if not done:
        raise errors[0]
    for error in errors:
        logging.getLogger(__name__).warning("a worker gave up: %s", error)
    failed = {cell: why for one in done for cell, why in one.failed.items()}
    return Done(
        units=sum(one.units for one in done),
        cells=len(plan.cells) - len(failed),
        failed=failed,
        notes={cell: note for one in done for cell, note in one.notes.items()},
        loads=sum(one.loads for one in done),
    )


def _connected(address: str) -> Any:
    """Return Ray, connected to a cluster that is there."""
    try:
        import ray
    except ImportError as error:
        raise DataError("--ray needs Ray: `pip install 'rope-eval[ray]'`") from error
    host, _, port = address.rpartition("://")[2].rpartition(":")
    try:
        if port.isdecimal():  # Ray itself looks for minutes
            socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # of many kinds, and of long texts
        where = "here" if address == "auto" else f"at {address}"
        raise DataError(
            f"there is no Ray cluster {where}, or none that this process can use "
            f"({shorten(reason(error), 200)}): `ray start --head` starts one, and --ray ADDRESS or "
            "RAY_ADDRESS say where it is"
        ) from error
    return ray


def _gpus(ray: Any, plan: Plan, fleet: Fleet) -> float:
    if fleet.gpus is not None:
        return fleet.gpus
    devices = {cell.loading.device for cell in plan.cells}
    may = any(device is None or device.startswith("cuda") for device in devices)
    return 1 if may and ray.cluster_resources().get("GPU", 0) else 0


def _fitting(ray: Any, cpus: int, gpus: float) -> int:
    """Return how many workers fit on the cluster's machines."""
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    count = 0
    for machine in machines:
        fit = machine.get("CPU", 0) // cpus
        count += int(min(fit, machine.get("GPU", 0) // gpus) if gpus else fit)
    if not count:
        has = "; ".join(f"{m.get('CPU', 0):g} CPUs and {m.get('GPU', 0):g} GPUs" for m in machines)
        raise SpecError(
            f"a worker takes {cpus} CPUs and {gpus:g} GPUs, and no machine of the cluster has them "
            f"({has}): change --ray-cpus and --ray-gpus, or say --ray-workers where it will grow"
        )
    return count


def _paths(plan: Plan) -> frozenset[str]:
    """Return the models and books of a plan that are files of this machine."""
    names = {cell.setting.checkpoint for cell in plan.cells}
    names |= {getattr(cell.measurement, "books", "") for cell in plan.cells}
    return frozenset(name for name in names - {""} if Path(name).exists())


@contextmanager
def _shared(results: Place) -> Iterator[tuple[Place, str | None]]:
    """Yield the store's place for all machines, and a file by which they know a shared folder."""
    if isinstance(folder_at(results), RemoteFolder):
        yield results, None
        return
    folder, witness = Path(folder_at(results).root).resolve(), f".seen-{uuid4().hex}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / witness).touch()
    except OSError as error:
        raise StoreError(f"cannot write to {folder}: {error.strerror}") from error
    try:
        yield folder, witness
    finally:
        with suppress(OSError):
            (folder / witness).unlink()


def _all_of(
    ray: Any, workers: list[Any], board: Any, progress: Callable[[str, float], None]
) -> tuple[list[Done], list[RopeEvalError]]:
    """Wait for all workers; if this is interrupted, have them give their claims back."""
    done: list[Done] = []
    errors: list[RopeEvalError] = []
    pending = workers
    try:
        while pending:
            over, pending = ray.wait(pending, timeout=POLL_SECONDS)
            for one in over:
                try:
                    done.append(ray.get(one))
                except ray.exceptions.RayError as error:
                    errors.append(_reason(error))
            with suppress(ray.exceptions.RayError):  # its machine was lost: it is made anew
                progress(*ray.get(board.read.remote(), timeout=POLL_SECONDS))
    except BaseException:
        for one in pending:
            ray.cancel(one)
        if pending:
            ray.wait(pending, num_returns=len(pending), timeout=CANCEL_SECONDS)
        raise
    return done, errors


def _reason(error: Exception) -> RopeEvalError:
    """Return why a worker ended: its own error where it is one of ours."""
    cause = getattr(error, "cause", None) or error
    if isinstance(cause, RopeEvalError):
        return cause
    return DataError(
        f"a worker on the cluster failed: {reason(cause)}. Is the same rope-eval installed on "
        "every machine?"
    )
