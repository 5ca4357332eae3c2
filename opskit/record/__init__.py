"""What is remembered: who intended what, what became of it, what was undone. One SQL store behind the journal."""
