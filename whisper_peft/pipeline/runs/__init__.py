"""One run of finetune, from its recipe to its folder."""
