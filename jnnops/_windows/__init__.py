"""What windows over arrays share: their geometry, the layout of the arrays, walks over taps, and who won a maximum."""
