"""Building blocks of hashing methods: the abstract class, its bases, losses, code memory and encoding."""
