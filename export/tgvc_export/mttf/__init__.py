"""MTTF in torch: people from one key picture and a few numbers per frame, at full width and at nano width."""
