"""The kernels go through Triton's compilers for NVIDIA's and AMD's GPUs: the interpreter takes more than these do."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import settings

GPUS = [("cuda", "80,90,100", 32), ("hip", "gfx942,gfx90a", 64)]  # each maker's in turn; nightly, every shape for each
if settings.get_current_profile_name() == "nightly":
    GPUS = [(maker, gpu, warp) for maker, gpus, warp in GPUS for gpu in gpus.split(",")]


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")
@pytest.mark.parametrize("gpus", GPUS, ids=lambda gpus: gpus[1])
def test_the_kernels_compile(tmp_path, gpus):
    """In a process of its own: here Triton interprets."""
    environment = os.environ | {"TRITON_CACHE_DIR": str(tmp_path)}
    environment.pop("TRITON_INTERPRET", None)
    script = Path(__file__).with_name("compile_kernels.py")
    done = subprocess.run(
        [sys.executable, script, *map(str, gpus)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == ["rows"] * 5 + ["gradient"] * 2
