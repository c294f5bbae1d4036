"""The command ``hosier``: one verb per file."""
