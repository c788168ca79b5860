"""The mistakes that people make, part by part: the right formulas, and what each mistake makes of them."""
