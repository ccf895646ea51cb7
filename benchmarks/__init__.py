"""Speed, as ratios against the bare libraries or commands in the same run."""
