"""The kernels go through Triton's compilers for NVIDIA's and AMD's GPUs: the interpreter takes more than these do."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

TARGETS = {"sm_80": ("cuda", 80, 32), "sm_90": ("cuda", 90, 32), "sm_100": ("cuda", 100, 32)}
TARGETS |= {"gfx942": ("hip", "gfx942", 64), "gfx90a": ("hip", "gfx90a", 64)}


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")
@pytest.mark.parametrize("target", TARGETS)
def test_the_kernels_compile(tmp_path, target):
    """In a process of its own: here Triton interprets."""
    environment = os.environ | {"TRITON_CACHE_DIR": str(tmp_path)}
    environment.pop("TRITON_INTERPRET", None)
    script = Path(__file__).with_name("compile_kernels.py")
    done = subprocess.run(
        [sys.executable, script, *map(str, TARGETS[target])],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == ["rows"] * 5 + ["gradient"] * 2
