"""`lmhead.linear_cross_entropy` against bare matrix products and against its peers: `python -m benchmarks.op`.

problem      shapes and tensors
programs     everybody's loss, and the products that they are measured by
grid         forward and backward over sizes
cases        what asks for less, or for more, than forward and backward of all rows
memory       what a budget takes, and what a small one costs
growth       time and memory over three decades of each size
headline     every peer on one problem, time and memory
plots        pictures of the grid and of growth, from the JSON
"""
