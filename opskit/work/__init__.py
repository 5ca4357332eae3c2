"""What is to be done: options, branches, command templates, and the plan made of them."""
