"""Benchmarks of relative poses: data sets of others as scenes, pairs of their photos, a study, metrics, a document."""
