"""What hashing methods are made of: the contract, deep and shallow bases, losses, code memory, encoding."""
