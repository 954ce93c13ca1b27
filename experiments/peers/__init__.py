"""What we measure ourselves against, each written as its own users would write it.

Extras, never imported by `ncf_jax` or by a command.
"""
