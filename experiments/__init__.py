"""Commands: `python -m experiments.<name> --help` tells what each does."""
