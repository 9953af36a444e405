"""What is measured: streaming, exact, and mergeable over batches, files and ranks."""

from lmhead.metrics.accuracy import TokenAccuracyMetric
from lmhead.metrics.bits_per_byte import BitsPerByteMetric
from lmhead.metrics.perplexity import PerplexityMetric

__all__ = ["BitsPerByteMetric", "PerplexityMetric", "TokenAccuracyMetric"]
