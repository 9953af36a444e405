"""Compile every shape of the kernels without a GPU, for GPUs in turn: `compile_kernels.py cuda:80,90:32`."""

import sys
from itertools import cycle

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from lmhead.ops.triton import kernels

POINTERS = {"rows": "*i64", "targets": "*i64", "state_best": "*i64", "hit": "*u8", "rank": "*i64", "top_ids": "*i64"}
INTEGERS = {"products_stride", "first_row", "n", "offset", "width", "reach", "V", "first_id", "ignore_index"}
FLOATS = {"logit_scale", "softcap", "smoothing", "z_loss"}
STATE, PARAMETERS = {"state", "state_z", "state_best"}, {"parameters", "at_target"}
TOP = {"top_ids", "top_of_row"}
PLAIN = (
    {"rows", "bias", "column_scale", "of_lse", "of_entropy", "entropy", "hit", "max_logprob", "rank", "first_id"}
    | TOP
    | FLOATS
)
ONE = {"K": 1, "LANES": 1, "TOP_K": 5, "TOP_LANES": 8, "BLOCK": 4096, "FIRST": True, "LAST": True}
NONE = {"TOP_K": 0, "TOP_LANES": 1}
ROWS = [  # (what is None, constants)
    (PLAIN | STATE | PARAMETERS, ONE | NONE | {"NEEDS_MOMENT": False, "WRITES_GRADIENT": True}),
    (STATE | PARAMETERS, ONE | {"NEEDS_MOMENT": True, "WRITES_GRADIENT": True}),
    (PARAMETERS | {"rank"}, ONE | {"NEEDS_MOMENT": True, "WRITES_GRADIENT": False, "LAST": False}),
    ({"rank"} | TOP, ONE | NONE | {"K": 3, "LANES": 4, "FIRST": False, "NEEDS_MOMENT": True, "WRITES_GRADIENT": False}),
    (STATE, ONE | {"K": 32, "LANES": 32, "NEEDS_MOMENT": True, "WRITES_GRADIENT": False}),
]
TILE = {"GROUP": 256, "ROWS": 8, "BLOCK": 256}
GRADIENT = [
    (PLAIN | {"bias_sums", "scale_sums"}, TILE | {"K": 1, "HAS_SLOPE": False, "HAS_SHARE": False}),
    (set(), TILE | {"K": 3, "HAS_SLOPE": True, "HAS_SHARE": True}),
]
COUNT = [(PLAIN - {"rank"}, ONE), (set(), ONE | {"K": 3, "LANES": 4})]


def compile_one(kernel, absent, constants, target, warps):
    signature, values = {}, {}
    for place, name in enumerate(kernel.arg_names):
        if name in absent or name in constants:
            signature[name], values[(place,)] = "constexpr", constants.get(name)
        elif name in INTEGERS:
            signature[name] = "i32"
        elif name in FLOATS:
            signature[name] = "fp32"
        else:
            signature[name] = "*bf16" if name == "products" else POINTERS.get(name, "*fp32")
    source = ASTSource(fn=kernel, signature=signature, constexprs=values)
    triton.compile(source, target=target, options={"num_warps": warps, "enable_fp_fusion": False})


def compile_all(maker, gpus, warp):
    targets = cycle(GPUTarget(maker, int(gpu) if gpu.isdigit() else gpu, int(warp)) for gpu in gpus.split(","))
    for absent, constants in ROWS:
        compile_one(kernels.rows_kernel, absent, constants, next(targets), 16)
        print("rows")
    for absent, constants in GRADIENT:
        compile_one(kernels.gradient_kernel, absent, constants, next(targets), 4)
        print("gradient")
    for absent, constants in COUNT:
        compile_one(kernels.count_kernel, absent, constants, next(targets), 16)
        print("count")


if __name__ == "__main__":
    for given in sys.argv[1:]:
        compile_all(*given.split(":"))
