"""Building blocks of methods: the abstract class, its bases, losses, code memory, encoding, models' facts."""
