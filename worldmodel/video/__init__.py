"""Video and picture files: MP4 files, and the captions and borders of what is drawn."""
