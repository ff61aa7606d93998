"""What is true here: this machine, a model's shapes, a dataset's size. Facts only; nothing is judged and nothing imports torch."""
