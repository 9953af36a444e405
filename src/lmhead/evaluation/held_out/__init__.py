"""The evaluation of a run along the way and at its end: its held-out data -> nll, accuracy, bits per byte."""
