"""Relative poses from a few views: the protocol of estimators and those that the package has."""
