"""web_search: one question to the back end that the installation chose."""
