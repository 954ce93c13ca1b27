"""What we measure ourselves against, each written as its own users would write it.

Extras, never imported by `ncf_jax`; the benchmark runs them in processes of their own.
"""
