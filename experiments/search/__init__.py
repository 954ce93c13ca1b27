"""What experiments.sweep is made of: its space, its trials and their sampler."""
