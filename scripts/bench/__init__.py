"""Measures what users wait for on the development cluster, as ratios to a floor of the same run."""
