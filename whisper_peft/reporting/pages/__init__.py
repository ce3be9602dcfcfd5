"""What is written as a page or a card of its own."""
