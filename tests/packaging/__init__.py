"""Is what gets installed whole? The wheel, its extras, and the oldest and newest versions that it names."""
