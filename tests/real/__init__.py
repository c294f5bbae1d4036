"""End-to-end tests: a real `hosier serve`, and real programs as its clients."""
