"""The evaluation card: a model's figures with every number behind them; as JSON, Markdown, a page, and text."""
