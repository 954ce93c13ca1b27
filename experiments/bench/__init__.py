"""What `experiments.benchmark` is made of: processes, contestants, ceilings, suites."""
