"""What an evaluation says of drafts, in a line."""

from lmhead.evaluation.held_out.evaluate import Evaluation


def drafts_line(result: Evaluation) -> str:
    """The acceptance of drafts by depth and tokens a forward on held-out text; below 80 columns with four depths."""
    accepted = ", ".join(f"{depth.acceptance:.1%}" for depth in result.depths or () if depth.acceptance is not None)
    return f"drafts accepted {accepted}: {result.accepted_length:.2f} tokens a forward"
