"""A simulated model server that speaks the Messages API and follows a script."""
