"""What can be wrong with recorded play, and how it shows: bytes, records, pictures, and actions held against motion."""
