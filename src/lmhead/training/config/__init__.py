"""The run's config: every option of training, its YAML, and the sizes that follow from others."""
