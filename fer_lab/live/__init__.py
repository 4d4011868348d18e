"""From video to a group's Learning Satisfaction Index, privacy by construction: see README.md beside this file."""
