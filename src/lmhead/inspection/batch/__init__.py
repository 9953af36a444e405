"""audit: checks of a collated batch."""
