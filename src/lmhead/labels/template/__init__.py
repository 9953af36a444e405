"""Chat templates (Jinja): compiled, run in a sandbox within a budget, and named."""
