"""Pure decisions: facts in, verdict out. Nothing here acts."""
