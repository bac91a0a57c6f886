"""The cases of every op, a folder for each room of the library; ``machinery.registry`` finds them."""
