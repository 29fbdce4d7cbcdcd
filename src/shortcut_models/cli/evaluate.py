"""The command `shortcut evaluate`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config import PositiveInt
from ..errors import UserError
from ..system.torchrun import DAY
from .shared import Sampling, check_out, steps_of


@dataclass(frozen=True, kw_only=True)
class Evaluate(Sampling):
    steps: Sequence[int] | None = None
    """numbers of sampling steps, 1 to the model's largest (default: 1 2 4 ... up to the largest)"""
    num: PositiveInt = 1000
    """number of samples for each number of steps"""
    json: Path | None = None
    """file to write the result to as well, .json"""
    data: str | None = None
    """folder or file of the images (default: where they were for training)"""
    fid_stats: Path | None = None
    """statistics made by `shortcut fid-stats`, .npz; FID is measured against these instead, and KID and neighbourhoods
    where they have features (default: none)"""
    inception: str | None = None
    """TorchScript of the Inception network of 2015, or its https:// address (default: that of the extra `fid`)"""
    inception_sha256: str | None = None
    """SHA-256 that the file of --inception must have, in hexadecimal digits (default: none)"""
    trust_file: bool = False
    """open the file of --inception without a hash; opening TorchScript runs code of the file"""

    def __call__(self) -> None:
        from ..evaluation.evaluate import evaluate
        from ..evaluation.results import Rows, distances
        from ..models.run import Run

        if self.json is not None:
            check_out(self.json, ".json")
        if self.fid_stats is not None:
            self._by_fid(self.fid_stats)
            return
        if self.inception is not None or self.inception_sha256 is not None or self.trust_file:
            raise UserError("--inception, --inception-sha256 and --trust-file are for FID: pass --fid-stats, too")
        from ..recipes.options import task_at

        model = self.model()
        model.precision = self.precision
        if self.data is not None:
            model.task = task_at(model.task, self.data, str(self.run))
        steps = steps_of(self.steps, model)
        result = evaluate(
            model, steps, self.num, seed=self.seed, guidance=self.guidance, batch_size=self.batch_size, on_row=Rows()
        )
        print(*filter(None, [distances(result), f"verdict: {result['verdict']}"]), sep="\n", flush=True)
        self._write(result, Run(self.run).evaluation)

    def _by_fid(self, statistics: Path) -> None:
        """Measure FID of a model's samples, by all processes that torchrun started."""
        from ..evaluation.fid import evaluate_fid, report
        from ..evaluation.fid_reference import read_reference
        from ..evaluation.fid_samples import FidSampler
        from ..evaluation.inception import Inception
        from ..evaluation.results import merge_fid_results
        from ..models.run import Run
        from ..system.distributed import process_group
        from ..system.files import cache_folder
        from ..system.machine import keep_freed_memory

        if self.data is not None:
            raise UserError("--data is for measures without FID, and --fid-stats for FID: leave one of them out")
        reference = read_reference(statistics)
        keep_freed_memory()
        with process_group(self.device, DAY) as processes:
            model = self.generator()
            model.precision = self.precision
            steps, files = steps_of(self.steps, model), Run(self.run)
            folder = files.fid if self.run.is_dir() else cache_folder("fid")
            network = Inception(self.inception, model.device, sha256=self.inception_sha256, trust=self.trust_file)
            sampler = FidSampler(model, network, self.seed, self.guidance, folder)
            result = evaluate_fid(sampler, reference, steps, self.num, batch_size=self.batch_size, processes=processes)
            if result is not None:
                print(report(result), flush=True)
                self._write(result, files.fid_result, merge_fid_results(files.fid_result, result))

    def _write(self, result: dict[str, Any], own: Path, more: dict[str, Any] | None = None) -> None:
        """Write a result to --json, and to `own`, the run's file, unless that is better; more: with rows of before."""
        from ..evaluation.results import describe_better_existing
        from ..system.files import write_json

        kept = describe_better_existing(own, more or result)
        if kept:
            print(f"{own} stays, as it is of {kept}: pass --json FILE to write this result")
        elif self.run.is_dir():
            write_json(own, more or result)
        if self.json is not None:
            write_json(self.json, result)
