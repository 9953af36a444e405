"""Where the suite has to be green: every step down of the processor, each Python, torch and transformers."""

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field

PYTHONS = ("3.11", "3.12", "3.13")
TORCHES = ("2.9.1", "2.10.0", "2.11.0", "2.12.1", "2.13.0", "2.14.1", "2.15.0")
TRANSFORMERS = ("4.56.2", "4.57.6", "5.24.0")  # beside the one of constraints.txt: the oldest that is taken, the newest
# Each library dispatches for itself: its steps down, and the width in bits that a processor must have for each.
STEPS: Mapping[str, Mapping[str, int]] = {
    "ATEN_CPU_CAPABILITY": {"avx512": 512, "avx2": 256, "default": 128},
    "ONEDNN_MAX_CPU_ISA": {"AVX512_CORE_BF16": 512, "AVX512_CORE": 512, "AVX2": 256, "SSE41": 128},
    "MKL_ENABLE_INSTRUCTIONS": {"AVX512": 512, "AVX2": 256, "SSE4_2": 128},
    "MKL_CBWR": {"COMPATIBLE": 128},  # MKL_ENABLE_INSTRUCTIONS is ignored on some processors that are not Intel's
}
TOGETHER = {  # what a processor without the wider registers runs
    "as AVX-512": ("avx512", "AVX512_CORE", "AVX512"),
    "as AVX2": ("avx2", "AVX2", "AVX2"),
    "as SSE4": ("default", "SSE41", "SSE4_2"),
}
_WIDTHS = {"AVX512": 512, "AVX2": 256, "DEFAULT": 128}


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """One run of the suite: with these variables, in this interpreter or in one of its own."""

    name: str
    variables: Mapping[str, str] = field(default_factory=dict)
    python: str | None = None  # "3.12"; None with torch: the running one
    torch: str | None = None  # "2.9.1"; None with python: the one of constraints.txt
    transformers: str | None = None  # "4.56.2"; None: the running one, or the one of constraints.txt
    skipped: str | None = None  # why it cannot run

    @property
    def is_installed(self) -> bool:
        """Whether it is the running interpreter's."""
        return self.python is None and self.torch is None and self.transformers is None


def processors(capability: str) -> list[Environment]:
    """The ladder: as it is with one thread and two, each library's steps alone, then together.

    Args:
        capability: what torch.backends.cpu.get_cpu_capability() says.
    """
    width = _WIDTHS.get(capability, 0)
    found = [_of_processor(_with("as it is", n), {}, 0, width, threads=n) for n in (1, 2)]
    for variable, steps in STEPS.items():
        found += [_of_processor(f"{variable}={step}", {variable: step}, wide, width) for step, wide in steps.items()]
    for name, steps in TOGETHER.items():
        variables = dict(zip(STEPS, steps, strict=False))
        wide = STEPS["ATEN_CPU_CAPABILITY"][steps[0]]
        found += [_of_processor(_with(name, n), variables, wide, width, threads=n) for n in (1, 2)]
    return found


def _with(name: str, threads: int) -> str:
    return f"{name}, {threads} thread{'s' * (threads > 1)}"


def _of_processor(name: str, variables: Mapping[str, str], needs: int, width: int, *, threads: int = 1) -> Environment:
    skipped = f"this processor has no {needs}-bit registers" if needs > width else None
    return Environment(name=name, variables={"OMP_NUM_THREADS": str(threads), **variables}, skipped=skipped)


def versions() -> list[Environment]:
    """Every Python with the torch of constraints.txt, every torch and every transformers with the running Python."""
    one_thread = {"OMP_NUM_THREADS": "1"}
    pythons = [Environment(name=f"Python {python}", python=python, variables=one_thread) for python in PYTHONS]
    torches = [Environment(name=f"torch {torch}", torch=torch, variables=one_thread) for torch in TORCHES]
    return [
        *pythons,
        *torches,
        *(Environment(name=f"transformers {one}", transformers=one, variables=one_thread) for one in TRANSFORMERS),
    ]


def torch_requirement(version: str, *, cuda_builds: bool) -> str:
    """What pip is asked for. On Linux and x86-64 only "+cpu" keeps it from gigabytes of CUDA packages."""
    draws_cuda = platform.system() == "Linux" and platform.machine() == "x86_64"
    return f"torch=={version}+cpu" if draws_cuda and not cuda_builds else f"torch=={version}"
