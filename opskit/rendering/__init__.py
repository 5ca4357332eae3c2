"""How things look and how foreign text is made harmless; knows statuses as words, and no other room."""
