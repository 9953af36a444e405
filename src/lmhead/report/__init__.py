"""Reports: a record -> one HTML file that needs no network. Nothing here knows how a record came to be."""
