"""What a position method is: values and tensors, no model."""
