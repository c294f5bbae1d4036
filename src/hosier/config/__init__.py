"""The configuration file: its keys are the settings' own fields, read, checked and built here."""
