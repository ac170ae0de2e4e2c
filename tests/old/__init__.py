"""Moving in: real servers that had the mail before, and the clients that keep what they have fetched from them."""
