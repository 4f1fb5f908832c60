"""python -m benchmarks [NAME ...]: measures, prints a table, draws a picture."""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

from benchmarks.picture import curve, draw
from benchmarks.timing import Row

HERE = Path(__file__).parent
FLAGS = ("avx2", "fma", "avx512f", "avx512_vnni", "amx_tile", "asimd", "sve")


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the chosen benchmarks, all of them by default."""
    chosen = _parser().parse_args(argv)
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["OMP_NUM_THREADS"] = str(chosen.threads)  # for the processes that are started
    import torch

    torch.set_num_threads(chosen.threads)
    heading = machine(chosen.threads)
    print(heading, flush=True)
    benchmarks = _benchmarks(chosen)
    rows: list[Row] = []
    for name in chosen.names or [name for name in benchmarks if name != "large"]:
        found = benchmarks[name]()
        rows += found
        print(table(found), flush=True)
    if chosen.picture:
        chosen.picture.write_text(draw(rows, heading))
        print(f"drawn: {chosen.picture}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*",
                        help="start, load, memory, vae, steps, cpp, compiled, openvino, small_masks, reuse, "
                             "recording, networks, control, cards, live, finding, training, placement, large; all but "
                             "large when left out")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="default: all cores")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved runs of each contestant")
    parser.add_argument("--size", type=int, default=256, help="pixels a side for Stable Diffusion 1.5")
    parser.add_argument("--calls", type=int, default=4, help="network calls a run for Stable Diffusion 1.5")
    parser.add_argument("--cache", type=Path, default=HERE.parent / "cache" / "benchmarks",
                        help="folder for the built checkpoints (2.2 GB; 9.1 GB with large)")
    parser.add_argument("--checkpoint", type=Path, metavar="FILE",
                        help="with training: this checkpoint instead of the default one and that of SD 1.5's size")
    parser.add_argument("--curve", type=int, default=100, metavar="STEPS",
                        help="with training: steps whose losses are compared; 0 leaves them out")
    parser.add_argument("--converter", action="store_true", help="with openvino: OpenVINO's own converter too")
    parser.add_argument("--gpus", type=int, nargs="+", default=[1, 8, 64], help="with placement: how many there are")
    parser.add_argument("--picture", type=Path, help="an SVG file to draw the figures into")
    return parser


def _benchmarks(chosen: argparse.Namespace) -> dict[str, Callable[[], list[Row]]]:
    # Imported when asked for: each brings libraries that would distort another's figures.
    def steps() -> list[Row]:
        from benchmarks import steps

        return (steps.run("default", chosen.cache, size=128, calls=20, rounds=chosen.rounds)
                + steps.run("sd15", chosen.cache, size=chosen.size, calls=chosen.calls, rounds=chosen.rounds))

    def load() -> list[Row]:
        from benchmarks import loading

        return loading.run(chosen.cache, chosen.threads, chosen.rounds)

    def control() -> list[Row]:
        from benchmarks import control

        return control.run(chosen.cache, size=chosen.size, calls=chosen.calls, threads=chosen.threads,
                           rounds=chosen.rounds)

    def cards() -> list[Row]:
        if find_spec("playwright") is None:
            print("cards is left out: it needs playwright and Chromium.", flush=True)
            return []
        from benchmarks import cards

        return cards.run(rounds=chosen.rounds)

    def live() -> list[Row]:
        if find_spec("playwright") is None:
            print("live is left out: it needs playwright and Chromium.", flush=True)
            return []
        from benchmarks import live

        return live.run(rounds=chosen.rounds)

    def finding() -> list[Row]:
        from benchmarks import finding

        return finding.run(chosen.cache, threads=chosen.threads, rounds=chosen.rounds)

    def placement() -> list[Row]:
        from benchmarks import placement

        return placement.run(chosen.gpus)

    def large() -> list[Row]:
        from benchmarks import large

        return large.run(chosen.cache, threads=chosen.threads, rounds=chosen.rounds)

    def start() -> list[Row]:
        from benchmarks import start

        return start.run(chosen.rounds)

    def cpp() -> list[Row]:
        from benchmarks import cpp

        return cpp.run(chosen.cache, size=chosen.size, rounds=chosen.rounds)

    def compiled() -> list[Row]:
        from benchmarks import compiled

        return compiled.run(chosen.cache, size=chosen.size, calls=chosen.calls, rounds=chosen.rounds)

    def openvino() -> list[Row]:
        if find_spec("openvino") is None:
            print("openvino is left out: requirements-openvino.txt is not installed.", flush=True)
            return []
        from benchmarks import openvino

        return openvino.run(chosen.cache, size=chosen.size, calls=chosen.calls, threads=chosen.threads,
                            rounds=chosen.rounds, converter=chosen.converter)

    def small_masks() -> list[Row]:
        from benchmarks import small_masks

        return small_masks.run(chosen.cache, size=chosen.size, picture=chosen.picture)

    def reuse() -> list[Row]:
        from benchmarks import reuse

        return reuse.run(chosen.cache, size=chosen.size, rounds=chosen.rounds)

    def recording() -> list[Row]:
        from benchmarks import recording

        return recording.run(chosen.cache, rounds=chosen.rounds)

    def networks() -> list[Row]:
        from benchmarks import networks

        if find_spec("peft") is None:
            print("networks is left out: it needs peft and accelerate, which diffusers' LoRAs want.", flush=True)
            return []
        sizes = ("sd15", "sdxl") if (chosen.cache / "sdxl.safetensors").exists() else ("sd15",)
        return [row for size in sizes
                for row in networks.run(size, chosen.cache, threads=chosen.threads, rounds=chosen.rounds)]

    def training() -> list[Row]:
        from benchmarks import training

        if find_spec("peft") is None:
            print("training is left out: it needs peft.", flush=True)
            return []
        sizes = ["default", *(["sd15"] if (chosen.cache / "sd15.safetensors").exists() else [])]
        return [row for name in ([str(chosen.checkpoint)] if chosen.checkpoint else sizes)
                for row in training.run(name, chosen.cache, threads=chosen.threads, rounds=chosen.rounds,
                                        curve=chosen.curve)]

    def vae() -> list[Row]:
        from benchmarks import vae

        return vae.run(chosen.cache, size=chosen.size, threads=chosen.threads, rounds=chosen.rounds)

    def memory() -> list[Row]:
        from benchmarks import memory

        rows, used = memory.run(chosen.cache)
        if chosen.picture:
            chosen.picture.with_name("memory.svg").write_text(curve(
                used, "Resident memory over 50 swaps and 200 pictures", "MB",
                "one point a picture; a swap at every fourth"))
        return rows

    return {"start": start, "load": load, "memory": memory, "vae": vae, "steps": steps,
            "cpp": cpp, "compiled": compiled, "openvino": openvino, "small_masks": small_masks, "reuse": reuse,
            "recording": recording, "networks": networks, "control": control, "cards": cards, "live": live,
            "finding": finding, "training": training, "placement": placement, "large": large}


def machine(threads: int) -> str:
    """The machine in words: what a reader needs to compare."""
    info = Path("/proc/cpuinfo")
    known = info.read_text().split() if info.exists() else []
    flags = [flag for flag in FLAGS if flag in known]
    return f"{platform.machine()}, {os.cpu_count()} cores ({', '.join(flags)}), {threads} thread(s)"


def table(rows: Sequence[Row]) -> str:
    """Markdown; ratios below 1 are in our favour."""
    lines = ["", "| what | ours | against | theirs | ratio | target |", "| --- | --- | --- | --- | --- | --- |"]
    lines += [f"| {r.what} | {r.ours:.3g} {r.unit} | {r.against} | {r.theirs:.3g} {r.unit} | {r.ratio:.3f} | "
              f"{'' if r.target is None else f'{r.target:g}'} |" for r in rows]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
