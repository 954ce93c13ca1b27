"""Imported once by the server that children are forked from: what commands import."""

import ncf_jax.data.csvfile
import ncf_jax.data.download
import ncf_jax.data.export
import ncf_jax.data.shardfiles
import ncf_jax.foldin
import ncf_jax.pictures  # noqa: F401  (all of them: for their being imported)
