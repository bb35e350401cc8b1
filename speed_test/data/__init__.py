"""Where data come from: the rule of --data, readers of files, and makers of synthetic data."""
