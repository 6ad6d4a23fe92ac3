"""What the compiler makes of ops: kernels over vectors and addresses by family, and the rules that choose them."""
