"""Request bodies of Agents and Environments, as strict models."""
