"""Files that the demo's data set holds as they are."""
