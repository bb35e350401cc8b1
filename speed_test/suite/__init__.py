"""run_all.py: finding the speed tests, sharing out the time, running each in its own process, and the summary."""
