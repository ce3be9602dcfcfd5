"""What a run did to a model, with a verdict on each side: what it won, forgot, invents, writes otherwise."""
