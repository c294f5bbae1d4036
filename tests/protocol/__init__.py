"""Tests of the core; one file per source file, and a few that see all of it."""
