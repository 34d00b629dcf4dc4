"""What a dtype costs: certified errors of runs in float64, float32 and bfloat16, theorem by theorem."""
