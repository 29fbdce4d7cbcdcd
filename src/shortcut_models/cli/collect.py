"""The command `shortcut collect`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..arguments import Parser, number, whole_number
from ..errors import UserError
from .shared import check_steps

if TYPE_CHECKING:
    from ..policies.collect import Learner

ABOUT = (
    "let an expert drive, drive yourself, or let an expert correct a policy, and keep the episodes as demonstrations"
)


def add_arguments(parser: Parser) -> None:
    """The command's options."""
    add = parser.add_argument
    add("environment", metavar="ENVIRONMENT", help="car-racing, or meta-world/TASK")
    add("--episodes", type=whole_number, required=True, metavar="N", help="episodes to keep in all; >= 1")
    add("--out", type=Path, required=True, metavar="DIR", help="where they go: new, empty, or begun before")
    add("--min-return", type=number, metavar="R", help="drop and count episodes that score less (default: keep all)")
    add("--seed", type=whole_number, default=0, metavar="S", help="of the first; each has the next; >= 0 (default 0)")
    add(
        "--noise", type=number, default=0.0, metavar="X",
        help="add noise to what is carried out, and record what the expert wants: it shows how to get back; "
        "0 to 1, which is about the most it recovers from (default 0)",
    )  # fmt: skip
    add(
        "--perturbations", type=number, default=0.0, metavar="X",
        help="hold a random action for 10 to 40 frames, on average X times per 1,000 frames, and record what the "
        "expert wants: it shows how to get back from farther off (default 0)",
    )  # fmt: skip
    driver = parser.add_mutually_exclusive_group()
    driver.add_argument("--human", action="store_true", help="drive yourself, with the keyboard or a gamepad")
    driver.add_argument(
        "--policy", type=Path, metavar="RUN",
        help="let the policy of a run act, on the CPU, and record what the expert wants where that leads (DAgger)",
    )  # fmt: skip
    add("--steps", type=whole_number, metavar="N", help="sampling steps of each of the policy's decisions (default 1)")
    add("--execute", type=whole_number, metavar="N", help="actions of each of its decisions (default: the run's own)")


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    import contextlib

    from ..policies.collect import Settings, collect
    from ..policies.environments import open_environment
    from ..policies.experts import open_expert

    settings = Settings("human" if args.human else "expert", args.seed, args.noise, args.perturbations, args.min_return)
    expert = open_expert(args.environment, human=args.human)
    learner = _learner(args)
    with contextlib.closing(expert), contextlib.closing(open_environment(args.environment)) as environment:
        say = lambda line: print(line, flush=True)
        scores = collect(args.environment, environment, expert, args.out, args.episodes, settings, say, learner)
    print(f"mean return {sum(scores) / len(scores):.1f} over {len(scores)} episodes")


def _learner(args: argparse.Namespace) -> Learner | None:
    """The policy that acts, if one does."""
    if args.policy is None:
        for option in ("steps", "execute"):
            if getattr(args, option) is not None:
                raise UserError(f"--{option} says how a policy decides: give --policy RUN too")
        return None
    from ..policies.collect import Learner
    from ..policies.rollout import PolicyRun
    from ..system.hashing import hash_tensors

    policy = PolicyRun.open(args.policy, environment=args.environment, execute=args.execute).policy
    steps = 1 if args.steps is None else args.steps
    check_steps(steps, policy.model)
    weights = hash_tensors(policy.model.network.state_dict())[:8]
    run = f"{args.policy.resolve().name} of training step {policy.model.step:,} (weights {weights})"
    return Learner(f"{run} with --steps {steps} --execute {policy.execute}", policy, steps)
