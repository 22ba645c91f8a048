"""One case, as files and in memory."""
