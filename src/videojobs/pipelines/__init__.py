"""From facts about a source and what is wanted of it to a plan. Pure: nothing here runs."""
