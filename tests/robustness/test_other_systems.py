"""Systems that lack what only Unix has: the package is imported there, and a model is loaded and sampled."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from helpers.runs import environment, train

WITHOUT_UNIX = """
import sys
# Libraries look at the system's name, which stays Linux, and may use what Linux has.
import annotated_types, filelock, jaxtyping, matplotlib.pyplot, numpy, PIL.Image, platformdirs, psutil
import safetensors.torch, scipy, sklearn.svm, torch, torch._dynamo, torch.distributed, torch.utils.data, tqdm
assert not [name for name in sys.modules if name.startswith("shortcut_models")]
for name in ("fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "readline", "syslog"):
    sys.modules[name] = None
import os, signal
names = (
    "sysconf", "sysconf_names", "getuid", "geteuid", "getgid", "fork", "forkpty", "register_at_fork", "killpg",
    "setsid", "getpgid", "uname", "sched_getaffinity", "sched_setaffinity", "O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK",
    "O_TMPFILE", "O_CLOEXEC", "posix_fallocate", "chown", "fchmod", "fchown", "mkfifo", "getloadavg", "sync", "wait3",
)
for name in names:
    if hasattr(os, name):
        delattr(os, name)
for name in ("SIGKILL", "SIGPIPE", "SIGHUP", "SIGCHLD", "SIGUSR1", "SIGUSR2", "SIGALRM", "setitimer", "alarm"):
    delattr(signal, name)
open_file = os.open
def refuse_directories(path, *rest, **more):
    if os.path.isdir(path):
        raise PermissionError(13, "Permission denied", path)
    return open_file(path, *rest, **more)
os.open = refuse_directories
"""
SAMPLE = """
import shortcut_models
model = shortcut_models.load(sys.argv[1])
assert model.sample(3, steps=2).shape[0] == 3
from shortcut_models.cli import main
assert main(["sample", sys.argv[1], "--num", "2", "--steps", "1", "--out", sys.argv[1] + "/x.npz"]) == 0
from shortcut_models.models import checkpoint
folder = shortcut_models.models.run.Run(sys.argv[1]).checkpoints
assert checkpoint.save(folder, 99, model.network.state_dict(), {}, {}, keep=5).name == "00000099"
import importlib, pkgutil
for found in pkgutil.walk_packages(shortcut_models.__path__, "shortcut_models."):
    if "policies.environments" not in found.name and not found.name.endswith("__main__"):  # extras, which differ
        importlib.import_module(found.name)
"""


def run(code: str, *words: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, env=environment()
    )


def test_a_model_is_sampled_where_nothing_of_unix_exists(tmp_path: Path) -> None:
    train(tmp_path / "run")
    done = run(WITHOUT_UNIX + SAMPLE, tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
