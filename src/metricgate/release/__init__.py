"""From a tag to an image: what a release is called."""
