"""The rows of the bench, a file each; `bench.registry` lists them."""
