"""Builds our images as docker-archive files; standard library only, because no virtual environment is there yet."""
