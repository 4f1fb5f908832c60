"""The training loop that every network here shares: workers with averaged gradients, moving averages, saving, resuming.

Work is counted in samples, never in hours. A run that is stopped goes on where its last saved state was.
"""

from __future__ import annotations

import copy
import json
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn


@dataclass(frozen=True)
class Plan:
    """How one network is trained."""

    name: str
    samples: int  # seen in all, by all workers
    batch: int  # samples of one worker in one step
    rate: float  # AdamW's highest rate
    warmup: int = 200  # steps
    decay: float = 0.01
    average: float = 0.999  # of the moving average of the weights
    constant: float = 0.0  # part of the run that keeps the highest rate before the cosine falls to zero
    save_every: float = 300.0  # seconds


@dataclass(frozen=True)
class Worker:
    rank: int
    count: int
    device: torch.device


def run_workers(task: Callable[..., None], count: int, *args: object) -> None:
    """Runs task(worker, *args) in `count` processes of one thread each (one process when there is a GPU)."""
    if torch.cuda.is_available() or count == 1:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        task(Worker(0, 1, device), *args)
        return
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(_start, (count, f"file://{folder}/meet", task, args), nprocs=count)


def _start(rank: int, count: int, meet: str, task: Callable[..., None], args: tuple[object, ...]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=meet, rank=rank, world_size=count)
    task(Worker(rank, count, torch.device("cpu")), *args)
    dist.destroy_process_group()


def average_gradients(parameters: Iterable[nn.Parameter], count: int) -> None:
    """Makes every worker's gradients the mean of all workers', in one message."""
    if count == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([g.flatten() for g in gradients])
    dist.all_reduce(flat)
    flat /= count
    for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


def rate_at(plan: Plan, done: float, step: int) -> float:
    """Warm-up, then constant, then a cosine to zero; done is the part of the run that is over, 0..1."""
    tail = max(0.0, (done - plan.constant) / (1 - plan.constant))
    return plan.rate * min(1.0, (step + 1) / plan.warmup) * 0.5 * (1 + math.cos(math.pi * min(1.0, tail)))


def train(
    plan: Plan,
    worker: Worker,
    groups: list[dict[str, object]],
    modules: nn.ModuleDict,
    loss: Callable[[int, float], Tensor],
    folder: Path,
    sheet: Callable[[nn.ModuleDict, int], None] | None = None,
) -> None:
    """Trains `modules` until plan.samples; loss(step, done) draws a batch itself. groups: AdamW's, with their "scale"
    of the rate. The moving average is what is kept: folder/<name>.pt has state, folder/<name>.json the progress."""
    parameters = [p for g in groups for p in g["params"]]  # type: ignore[attr-defined]
    optimizer = torch.optim.AdamW(groups, lr=plan.rate, betas=(0.9, 0.98), weight_decay=plan.decay, fused=True)
    kept = {k: v.detach().clone() for k, v in modules.state_dict().items()}
    path, step, samples = folder / f"{plan.name}.pt", 0, 0
    if path.exists():
        state = torch.load(path, map_location=worker.device)
        modules.load_state_dict(state["modules"])
        if state["optimizer"] is not None:  # none after resume.py
            optimizer.load_state_dict(state["optimizer"])
        kept, step, samples = state["average"], state["step"], state["samples"]
    elif worker.count > 1:
        for tensor in modules.state_dict().values():
            dist.broadcast(tensor, 0)
        kept = {k: v.detach().clone() for k, v in modules.state_dict().items()}
    torch.manual_seed(1000 * step + worker.rank + 1)
    began, first, saved, shown, losses = time.time(), samples, time.time(), time.time(), []

    def save() -> None:
        if worker.rank == 0:
            temporary = path.with_suffix(".part")
            torch.save({"modules": modules.state_dict(), "optimizer": optimizer.state_dict(), "average": kept,
                        "step": step, "samples": samples}, temporary)
            temporary.replace(path)

    while samples < plan.samples:
        done = samples / plan.samples
        rate = rate_at(plan, done, step)
        for group in optimizer.param_groups:
            group["lr"] = rate * group.get("scale", 1.0)
        value = loss(step, done)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        average_gradients(parameters, worker.count)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        step, samples = step + 1, samples + plan.batch * worker.count
        keep = min(plan.average, (1 + step) / (10 + step))
        with torch.no_grad():
            for k, v in modules.state_dict().items():
                kept[k].lerp_(v, 1 - keep)
        losses.append(float(value.detach()))
        if worker.rank == 0 and time.time() - shown > 20:
            shown, speed = time.time(), (samples - first) / (time.time() - began)
            line = {"step": step, "samples": samples, "of": plan.samples, "loss": round(sum(losses) / len(losses), 5),
                    "rate": round(rate, 6), "samples_per_s": round(speed, 1),
                    "minutes_left": round((plan.samples - samples) / speed / 60, 1)}
            losses.clear()
            print(plan.name, line, flush=True)
            (folder / f"{plan.name}.json").write_text(json.dumps(line))
        if worker.rank == 0 and time.time() - saved > plan.save_every:
            saved = time.time()
            save()
            if sheet is not None:
                sheet(averaged(modules, kept), samples)
    save()
    if worker.rank == 0 and sheet is not None:
        sheet(averaged(modules, kept), samples)
    if worker.count > 1:
        dist.barrier()


def averaged(modules: nn.ModuleDict, kept: dict[str, Tensor]) -> nn.ModuleDict:
    """A copy of the modules with the averaged weights."""
    twin = copy.deepcopy(modules)
    twin.load_state_dict(kept)
    return twin.eval()


def load_average(module: nn.Module, path: Path, prefix: str) -> None:
    """Loads the moving average saved by `train` into one of its modules."""
    kept = torch.load(path, map_location="cpu")["average"]
    module.load_state_dict({k[len(prefix) + 1:]: v for k, v in kept.items() if k.startswith(prefix + ".")})
