"""The training loop that every network here shares: workers that average their weights, moving averages, saving.

The length of a run is given in samples, or in minutes where the time is what there is. A run that is stopped goes on
where its last saved state was.
"""

from __future__ import annotations

import copy
import json
import math
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn

TOGETHER = 16  # steps that a worker goes alone before all average their weights: waiting each step costs a third


@dataclass(frozen=True)
class Plan:
    """How one network is trained."""

    name: str
    batch: int  # samples of one worker in one step, at the smallest size
    rate: float  # AdamW's highest rate
    samples: int = 0  # seen in all, by all workers; 0: the run ends by the clock
    minutes: float = 0.0  # of this run; 0: it ends by samples
    warmup: int = 200  # steps of this run
    decay: float = 0.01
    averages: tuple[float, ...] = (0.999,)  # of the moving averages of the weights; the first is shown on sheets
    constant: float = 0.0  # part of the run that keeps the highest rate before the cosine falls to zero
    save_every: float = 150.0  # seconds


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


def half_precision(device: torch.device) -> torch.autocast:
    """bfloat16 where the machine computes with it faster than with float32."""
    pays = device.type == "cuda" or torch.cpu._is_avx512_bf16_supported()
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=pays)


@torch.no_grad()
def average_weights(parameters: list[nn.Parameter], count: int) -> None:
    """Makes every worker's weights the mean of all workers', in one message."""
    if count == 1:
        return
    flat = torch.cat([p.flatten() for p in parameters])
    dist.all_reduce(flat)
    flat /= count
    for parameter, part in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
        parameter.copy_(part.view_as(parameter))


def rate_at(plan: Plan, done: float, steps: int) -> float:
    """Warm-up over this run's first steps, then constant, then a cosine to zero; done: the part that is over, 0..1."""
    tail = max(0.0, (done - plan.constant) / (1 - plan.constant))
    return plan.rate * min(1.0, (steps + 1) / plan.warmup) * 0.5 * (1 + math.cos(math.pi * min(1.0, tail)))


class Clock:
    """How much of a run is over: by samples, or by the first worker's time, which the others are told."""

    def __init__(self, plan: Plan, worker: Worker, seconds: float) -> None:
        """seconds: what this run took before it was stopped."""
        self.plan, self.worker, self.began = plan, worker, time.time() - seconds

    @property
    def seconds(self) -> float:
        return time.time() - self.began

    def done(self, samples: int) -> float:
        if self.plan.samples:
            return samples / self.plan.samples
        part = torch.tensor([self.seconds / 60 / self.plan.minutes])
        if self.worker.count > 1:
            dist.broadcast(part, 0)
        return float(part)


def train(
    plan: Plan,
    worker: Worker,
    groups: list[dict[str, object]],
    modules: nn.ModuleDict,
    loss: Callable[[int], tuple[Tensor, int]],
    folder: Path,
    sheet: Callable[[nn.ModuleDict, int], None] | None = None,
) -> None:
    """Trains `modules` to the end of the plan; loss(step) draws a batch itself and says how large it is. groups:
    AdamW's, with their "scale" of the rate. folder/<name>.pt keeps the state, with every moving average;
    folder/<name>.json says how far it is."""
    parameters: list[nn.Parameter] = [p for g in groups for p in g["params"]]  # type: ignore[attr-defined]
    optimizer = torch.optim.AdamW(groups, lr=plan.rate, betas=(0.9, 0.98), weight_decay=plan.decay, fused=True)
    path, step, samples, steps, seconds = folder / f"{plan.name}.pt", 0, 0, 0, 0.0
    if path.exists():
        state = torch.load(path, map_location=worker.device)
        modules.load_state_dict(state["modules"])
        if state["optimizer"] is not None:  # none after resume.py
            optimizer.load_state_dict(state["optimizer"])
        step, samples, steps, seconds = (state[k] for k in ("step", "samples", "steps", "seconds"))
        kept = state["averages"]
    else:
        if worker.count > 1:
            for tensor in modules.state_dict().values():
                dist.broadcast(tensor, 0)
        kept = {}
    live = modules.state_dict()
    kept = {beta: kept.get(beta) or {k: v.detach().clone() for k, v in live.items()} for beta in plan.averages}
    torch.manual_seed(1000 * step + worker.rank + 1)
    clock, first, saved, shown, losses = Clock(plan, worker, seconds), samples, time.time(), time.time(), []
    started, cpu = time.time(), time.process_time()

    def save() -> None:
        if worker.rank == 0:
            temporary = path.with_suffix(".part")
            torch.save({"modules": live, "optimizer": optimizer.state_dict(), "averages": kept, "step": step,
                        "samples": samples, "steps": steps, "seconds": clock.seconds}, temporary)
            temporary.replace(path)

    done = clock.done(samples)
    while True:
        if steps % TOGETHER == 0:  # only here do workers wait for one another
            average_weights(parameters, worker.count)
            if worker.rank == 0 and steps:
                with torch.no_grad():
                    for beta, weights in kept.items():
                        keep = min(beta, (1 + step) / (10 + step)) ** TOGETHER
                        torch._foreach_lerp_([weights[k] for k in live], list(live.values()), 1 - keep)
            if (done := clock.done(samples)) >= 1:
                break
        rate = rate_at(plan, done, steps)
        for group in optimizer.param_groups:
            group["lr"] = rate * group.get("scale", 1.0)
        value, count = loss(step)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        step, steps, samples = step + 1, steps + 1, samples + count * worker.count
        losses.append(float(value.detach()))
        if worker.rank == 0 and time.time() - shown > 20:
            shown, cores = time.time(), (time.process_time() - cpu) / (time.time() - started)
            line = {"step": step, "samples": samples, "done": round(done, 4),
                    "loss": round(sum(losses) / len(losses), 5),
                    "rate": round(rate, 6), "samples_per_s": round((samples - first) / (time.time() - started), 1),
                    "cores": round(cores * worker.count, 2)}
            losses.clear()
            print(plan.name, line, flush=True)
            (folder / f"{plan.name}.json").write_text(json.dumps(line))
        if worker.rank == 0 and steps % TOGETHER == 0 and time.time() - saved > plan.save_every:
            saved = time.time()
            save()
            if sheet is not None:
                sheet(averaged(modules, kept[plan.averages[0]]), samples)
    save()
    if worker.rank == 0 and sheet is not None:
        sheet(averaged(modules, kept[plan.averages[0]]), samples)
    if worker.count > 1:
        dist.barrier()


def averaged(modules: nn.ModuleDict, kept: dict[str, Tensor]) -> nn.ModuleDict:
    """A copy of the modules with the averaged weights."""
    twin = copy.deepcopy(modules)
    twin.load_state_dict(kept)
    return twin.eval()


def load_average(module: nn.Module, path: Path, prefix: str, average: float | None = None) -> None:
    """Loads a moving average saved by `train` (the plan's first one, or the one named) into one of its modules; after
    `resume.py` the weights themselves."""
    state = torch.load(path, map_location="cpu")
    averages = state["averages"] or {average: state["modules"]}
    kept = averages[average] if average is not None else next(iter(averages.values()))
    module.load_state_dict({k[len(prefix) + 1:]: v for k, v in kept.items() if k.startswith(prefix + ".")})
