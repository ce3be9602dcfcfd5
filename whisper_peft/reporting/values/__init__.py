"""What the views of something other than one run are made of."""
