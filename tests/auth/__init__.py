"""Tests of the deciding half of authentication, one file per source file."""
