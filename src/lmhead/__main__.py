"""`python -m lmhead` is `lmhead`."""

import sys

from lmhead.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
