"""The verb `top`. `columns` says what is in a row, `screen` draws, `keyboard` reads keys."""
