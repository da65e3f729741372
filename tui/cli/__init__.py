"""The command line: arguments in, results on standard output."""
