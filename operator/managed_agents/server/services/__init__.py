"""What the server decides. No HTTP types here."""
