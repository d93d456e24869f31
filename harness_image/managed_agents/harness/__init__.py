"""The harness: reads a session's log, asks the model, runs its tools, and writes down what happened."""
