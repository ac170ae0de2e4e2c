"""Mail that comes in: from addresses to users, and from users to maildrops. It knows no protocol and no kind of store."""
