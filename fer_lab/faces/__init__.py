"""Faces in pictures: where they are, and crops of them as a network was trained to see them."""
