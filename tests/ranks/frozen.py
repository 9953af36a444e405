"""Imported last by the process that ranks are forked off: no rank looks for garbage in what it has imported.

Looking through it would also copy it, page by page, in each rank.
"""

import gc

gc.collect()
gc.freeze()
