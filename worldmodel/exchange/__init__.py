"""Recordings from elsewhere become data sets, and data sets become files that other programs read."""
