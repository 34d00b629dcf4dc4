"""What all command lines share: errors, options, results, terminal output. Imports none of our rooms."""
