"""Where processes are started: the probe and ffmpeg."""
