"""What reading images in place costs a worker: images a second of processor time, and as a share of Pillow alone.

    python benchmarks/reading.py --data photos

Pillow decodes files in memory; the worker reads them from shards, decodes them and makes batches. The two take
turns, batch by batch. Time is that of the processor: what else the machine does is not in it, nor is a slow disk.
"""

from __future__ import annotations

import argparse
import io
import itertools
import statistics
import tarfile
import time

import numpy as np
import torch
from PIL import Image

from shortcut_models.tasks import Images


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="one tar shard of images that are square and of one size")
    parser.add_argument("--batches", type=int, default=30, help="batches (default 30)")
    parser.add_argument("--batch-size", type=int, default=32, help="images of a batch (default 32)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    begin = time.perf_counter()
    dataset = Images(data=args.data, reading="in-place").resolve().dataset("train")
    print(f"{len(dataset)} images, found in {time.perf_counter() - begin:.2f} s")
    with tarfile.open(args.data) as archive:
        members = itertools.islice(filter(tarfile.TarInfo.isreg, archive), args.batches * args.batch_size)
        files = [file.read() for file in map(archive.extractfile, members) if file is not None]
    alone, ours = [], []
    order = dataset.order(torch.Generator().manual_seed(0)).tolist()
    for first in range(0, len(files), args.batch_size):
        some, rows = files[first : first + args.batch_size], order[first : first + args.batch_size]
        begin = time.process_time()
        for content in some:
            np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
        middle = time.process_time()
        dataset.__getitems__(rows)
        alone.append(len(some) / (middle - begin))
        ours.append(len(rows) / (time.process_time() - middle))
    ratio = statistics.median(b / a for a, b in zip(alone, ours, strict=True))
    print(f"Pillow alone {statistics.median(alone):.0f} images/s, in place {statistics.median(ours):.0f}, {ratio:.0%}")


if __name__ == "__main__":
    main()
