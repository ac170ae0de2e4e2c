"""The status page for people: plain facts come in, one HTML document goes out."""
