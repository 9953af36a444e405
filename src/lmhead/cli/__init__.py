"""The command line: one file a command, one table. Nothing heavy is imported before a command runs."""
