"""Models on the Hugging Face Hub: finding them, reading what their cards say with evidence for each value, and their family trees."""
