"""Tests of the configuration file, one file per source file."""
