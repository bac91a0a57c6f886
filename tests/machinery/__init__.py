"""What the tests are made of: cases and where they are found, the judge, numbers and programs."""
