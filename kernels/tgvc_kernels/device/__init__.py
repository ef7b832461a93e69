"""The way to a GPU: is there one, arrays of any library, compilation and its cache, launches."""
