"""What run_all.py needs beside the speed tests: how each of them ended, and the summary of all."""
