"""Words that targets lack, said in words they have: one file a family. `..expand` chooses and applies them."""
