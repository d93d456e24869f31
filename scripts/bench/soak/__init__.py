"""A steady load for minutes or hours, and what every process of ours grows by meanwhile (bench B22)."""
