"""Brings up and removes the development cluster.

Standard library only, because it runs before any virtual environment exists.
"""
