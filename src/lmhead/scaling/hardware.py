"""Hardware by name: memory, rates and links of one device, as the vendors state them. Imports no torch.

Rates are the vendors' peaks without sparsity, links are one way. What of them a run reaches is assumed, and said
wherever a time is: of the products 0.4, of an A100's 0.55, which are what puts the runs that docs/ranks/scaling.md
compares with between its bounds or near them; of links see step_time.py.

Data sheets, as the pages named beside quote them, read on 2026-11-29:
    a100   nvidia.com, A100 data sheet 1758950-r4; glennklockwood.com/garden/processors/A100
    h100   nvidia.com, H100 data sheet; glennklockwood.com/garden/processors/h100, archive-lib.hpctech.co.jp
    h200   nvidia.com, H200 data sheet; mlcommons inference_results_v4.1, H200-SXM-141GBx8
    b200   glennklockwood.com/garden/processors/B200 (HGX, 1,000 W); mlcommons inference_results_v6.0, nebius_b200_n1
    l40s   nvidia.com, L40S data sheet; itcreations.com, nvidia-l40s-gpu-accelerator; mullet.se
    rtx4090    nvidia.com, Ada GPU architecture whitepaper 2.01, with float32 accumulation; waredb.com
    mi300x     amd.com, MI300X data sheet; github.com/alpharomercoma/MI300X-vs-H200; gpu.blog (7 links of 64 GB/s a way)
    NICs   DGX H100 user guide, table 6: one ConnectX-7 of 400 Gb/s a GPU; DGX A100: one of 200 Gb/s. The other servers
           have no such standard: 400 Gb/s a GPU for b200 and mi300x as in the records above, 100 Gb/s for l40s and
           25 Gb/s for rtx4090, which are guesses. So are the hosts of 8 of these two.
    cpu    one core of two of the Intel Xeon that benchmarks/README.md was measured on (the grid: half of what the
           products of both cores reach there); the rates of its memory and of gloo over loopback are guesses
"""

import difflib
from dataclasses import dataclass
from typing import Final

from lmhead.errors import require
from lmhead.options import option

_GB: Final = 1e9  # as vendors count
_TERA: Final = 1e12


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """One device of a kind, and what connects it to others."""

    title: str
    memory: float  # bytes
    bfloat16: float  # floating-point operations a second of dense products with float32 accumulation
    float32: float  # the same for float32 operands, without TF32
    memory_rate: float  # bytes a second
    link: float  # bytes a second that a device can send to others of its host
    network: float  # bytes a second that it can send to other hosts
    per_host: int  # devices
    reached: float = 0.4  # of the products' rate, assumed, all that stands between them included
    gpu: bool = True

    def rate(self, compute_bytes: int) -> float:
        """Operations a second of products of 2 or 4 bytes."""
        return self.bfloat16 if compute_bytes == 2 else self.float32


def _gpu(
    title: str,
    memory: float,
    bfloat16: float,
    float32: float,
    memory_rate: float,
    link: float,
    network: float,
    reached: float = 0.4,
) -> Hardware:
    """Of GB, TFLOP/s, GB/s and Gb/s; 8 a host."""
    return Hardware(
        title=title,
        memory=memory * _GB,
        bfloat16=bfloat16 * _TERA,
        float32=float32 * _TERA,
        memory_rate=memory_rate * _GB,
        link=link * _GB,
        network=network * _GB / 8,
        per_host=8,
        reached=reached,
    )


HARDWARE: Final = {
    "a100-40": _gpu("NVIDIA A100 SXM 40 GB", 40, 312, 19.5, 1555, 300, 200, 0.55),
    "a100": _gpu("NVIDIA A100 SXM 80 GB", 80, 312, 19.5, 2039, 300, 200, 0.55),
    "h100": _gpu("NVIDIA H100 SXM 80 GB", 80, 989, 67, 3350, 450, 400),
    "h200": _gpu("NVIDIA H200 SXM 141 GB", 141, 989, 67, 4800, 450, 400),
    "b200": _gpu("NVIDIA B200 SXM 180 GB", 180, 2250, 80, 8000, 900, 400),
    "l40s": _gpu("NVIDIA L40S 48 GB", 48, 362, 91.6, 864, 32, 100),
    "rtx4090": _gpu("NVIDIA RTX 4090 24 GB", 24, 165, 82.6, 1008, 32, 25),
    "mi300x": _gpu("AMD MI300X 192 GB", 192, 1307, 163.4, 5300, 448, 400),
    "cpu": Hardware(
        title="one core of two of a Xeon, 2026",
        memory=12 * _GB,
        bfloat16=0.8 * _TERA,
        float32=0.17 * _TERA,
        memory_rate=8 * _GB,
        link=1 * _GB,
        network=1 * _GB,
        per_host=2,
        gpu=False,
    ),
}


def hardware_named(name: str) -> Hardware:
    """The hardware of that name.

    Raises:
        ArgumentError: there is none; the nearest is named.

    Example:
        >>> hardware_named("H100").memory
        80000000000.0
    """
    plain = "".join(each for each in name.lower() if each.isalnum())
    known = {each.replace("-", ""): hardware for each, hardware in HARDWARE.items()}
    if plain not in known:
        close = difflib.get_close_matches(plain, list(known), n=1, cutoff=0.5)
        spelled = next((each for each in HARDWARE if close and each.replace("-", "") == close[0]), None)
        remedy = f"did you mean {spelled}?" if spelled else ""
        require(False, option("hardware"), f"be one of {', '.join(HARDWARE)}", repr(name), remedy)
    return known[plain]
