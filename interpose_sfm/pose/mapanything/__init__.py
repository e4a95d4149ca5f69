"""The pose network MapAnything, from a checkout of its published code.

`checkout` imports the published classes and nothing around them, `architecture` says what they are built from,
`network` runs them, and `estimator` is the `PoseEstimator`.
"""
