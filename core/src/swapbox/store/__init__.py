"""What swapbox remembers: metadata in one SQLite file, blobs on disk."""
