"""Our custom resources as plain values: kinds, casing, conditions and the table of causes."""
