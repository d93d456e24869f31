"""A session's files: what it was given goes into the sandbox, what its tools leave goes to the server."""
