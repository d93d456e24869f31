"""What every process agrees on: ids, errors, clocks, events, our kinds. Standard library only."""
