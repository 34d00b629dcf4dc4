"""What ball and interval arithmetic share: which torch functions there are, and how a formula meets them."""
