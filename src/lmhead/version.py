"""The version of lmhead, on its own so that the build and the command line read it without importing torch."""

__version__ = "0.1.0"
