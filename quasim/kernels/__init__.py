"""What is tuned: kernel families, their tile IR, lowering, interpreter and cost facts."""
