"""The comparison on the testbed: every policy plays every problem; go on where it stopped."""

import functools
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from experiments.bandit.config import BanditConfig
from experiments.bandit.contenders import Contender, Family, chosen_contenders
from experiments.bandit.testbed import Played, Program, compile_program, play_all
from experiments.blocks import attempt, is_missing, open_run
from experiments.compiling import AheadOfTime
from experiments.progress import Display
from experiments.run_directory import Record, RunDirectory


def compare(config: BanditConfig, path: Path, display: Display, retry_failed: bool = False) -> bool:
    """Runs what is missing of a comparison; returns False where nothing was."""
    contenders = chosen_contenders(config)
    with open_run(config, path, display, _budget(config), "policy") as run:
        missing = [c for c in contenders if is_missing(run, c.name, retry_failed)]
        if not missing:
            return False
        if len(contenders) > len(missing):
            done = f"{len(contenders) - len(missing)} of {len(contenders)}"
            display.note(f"{done} policies are finished and are loaded")
        families = dict.fromkeys(contender.family for contender in missing)
        jobs = {family: functools.partial(compile_program, config, family) for family in families}
        with (
            closing(AheadOfTime(jobs)) as programs,
            display.stage("playing", len(missing), "policies"),
        ):
            for contender in missing:
                _play_one(run, contender, programs, display)
                display.advance(1)
    return True


def _play_one(
    run: RunDirectory[BanditConfig],
    contender: Contender,
    programs: AheadOfTime[Family, Program],
    display: Display,
) -> None:
    def work() -> list[Record]:
        program = programs.get(contender.family)
        start = time.perf_counter()
        played = play_all(program, contender)
        return block_records(run.config, played, time.perf_counter() - start)

    attempt(run, contender.name, {"contender": contender.name}, work, display, _shown)


def block_records(config: BanditConfig, played: Played, seconds: float) -> list[Record]:
    """Returns the block of a policy: its curves, its figures in each problem, and how it ended.

    The figures of each problem are kept, because policies are compared problem by problem.
    """
    regret = config.chunk * played.regret.cumsum(axis=1)
    half, tenth = config.points // 2, config.tenth
    columns = {
        "reward": played.reward.mean(axis=1),
        "first_reward": played.reward[:, 0],
        "late_reward": played.reward[:, -tenth:].mean(axis=1),
        "optimal": played.optimal.mean(axis=1),
        "middle_optimal": played.optimal[:, half - tenth : half].mean(axis=1),
        "late_optimal": played.optimal[:, -tenth:].mean(axis=1),
        "regret": regret[:, -1],
    }
    steps = config.chunk * np.arange(1, config.points + 1)
    curves = {"reward": played.reward, "optimal": played.optimal, "regret": regret}
    return [
        {"kind": "curves", "step": steps.tolist(), **{n: _moments(c) for n, c in curves.items()}},
        {"kind": "problems", **{n: np.round(c, 5).tolist() for n, c in columns.items()}},
        {"kind": "outcome", "status": "finished", "why": "", "seconds": round(seconds, 3)},
    ]


def _moments(values: np.ndarray) -> Record:
    deviation = values.std(axis=0, ddof=1)
    return {
        "mean": np.round(values.mean(axis=0), 6).tolist(),
        "deviation": np.round(deviation, 6).tolist(),
    }


def _shown(records: Sequence[Record]) -> str:
    found = [r for r in records if r["kind"] == "problems"]
    return f"regret {np.mean(found[0]['regret']):7.1f}" if found else ""


def _budget(config: BanditConfig) -> str:
    kind = "drifting" if config.drift else "stationary"
    return (
        f"{config.problems} {kind} problems of {config.arms} arms, {config.steps} steps each, the "
        "same problems and rewards for every policy"
    )
