"""One script for each peer. They run in environments of their own, without this project."""
