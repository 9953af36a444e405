"""The kernels go through Triton's compilers for NVIDIA's and AMD's GPUs: the interpreter takes more than these do."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import settings

GPUS = [["cuda:80,90,100:32", "hip:gfx942,gfx90a:64"]]  # each maker's in turn
if settings.get_current_profile_name() == "nightly":  # every shape for each
    GPUS = [[gpu] for gpu in ("cuda:80:32", "cuda:90:32", "cuda:100:32", "hip:gfx942:64", "hip:gfx90a:64")]


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")
@pytest.mark.parametrize("gpus", GPUS, ids=" ".join)
def test_the_kernels_compile(tmp_path, gpus):
    """In a process of its own: here Triton interprets."""
    environment = os.environ | {"TRITON_CACHE_DIR": str(tmp_path)}
    environment.pop("TRITON_INTERPRET", None)
    script = Path(__file__).with_name("compile_kernels.py")
    done = subprocess.run(
        [sys.executable, script, *gpus],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == (["rows"] * 5 + ["gradient"] * 2 + ["count"] * 2) * len(gpus)
