"""Methods of tensors and random numbers of other libraries: a part of the table that `foreign` reads."""

from __future__ import annotations

__all__ = ["TENSORS"]

TENSORS = """
[tensorgraph.random]
PRNGKey default_rng RandomState SeedGenerator = tg.random.Generator(0)
manual_seed set_seed = tg.random.seed(0)
rand random random_sample ranf sample = tg.random.uniform((2, 3))
randn standard_normal = tg.random.normal((2, 3))
shuffle randperm = tg.random.permutation(10)
random_integers integers = tg.random.randint(0, 10, (2, 3))
rademacher = tg.where(tg.random.bernoulli(0.5, (2, 3)), -1.0, 1.0)
standard_exponential = tg.random.exponential((2, 3))
standard_gamma = tg.random.gamma(2.0, (2, 3))
standard_cauchy cauchy = tg.tan(np.pi * (tg.random.uniform((2, 3)) - 0.5))
lognormal = tg.exp(tg.random.normal((2, 3)))
multinomial = tg.random.categorical(tg.log(x))
binomial = tg.sum(tg.random.bernoulli(0.3, (10, 2, 3)), axis=0)
poisson geometric = np.random.default_rng(0).{name} # no such draws yet; NumPy's generators have
split fold_in clone = tg.random.Generator(1) # a generator keeps its own state; make one for each use
get_state get_rng_state initial_seed default_generator = tg.random.state().numpy()
set_state set_rng_state = tg.random.state().assign(tg.random.state().numpy())
fork_rng = tg.random.Generator(0)

[Tensor]
view resize = x.reshape(3, 2)
contiguous is_contiguous data_ptr pin_memory share_memory_ = x # arrays are laid out as NumPy does; leave it out
permute = x.transpose(1, 0)
t H adjoint = x.T
mH = x.mT
unsqueeze = x[None]
expand expand_as broadcast_to sum_to_size = tg.broadcast_to(x, (4, 2, 3))
repeat = tg.tile(x, (2, 1)) # each element several times, as NumPy's, is tg.repeat(x, 2, axis=0); the whole, as \
PyTorch's, is
split_with_sizes split unsafe_split unsafe_chunk = tg.split(x, (1, 2), axis=1) # split takes the size of each part
gather = tg.take_along_axis(x, i[:, None], axis=1)
index_select = x.take(i, axis=1)
narrow = x[:, 0:2]
select = x[:, 0]
scatter scatter_ = tg.put_along_axis(x, i[:, None], 9.0, axis=1)
scatter_add scatter_add_ = x + tg.add_along_axis(w[:, None], i[:, None], axis=1, shape=x.shape)
index_add index_add_ = x.at[i].add(1.0)
index_put index_put_ index_copy index_copy_ index_fill index_fill_ put itemset = x.at[i].set(1.0)
masked_fill masked_fill_ = tg.where(x > 0, 0.0, x)
masked_select compress = x[x > 1.0]
new_zeros new_empty new = tg.zeros((2, 3), x.dtype)
new_ones = tg.ones((2, 3), x.dtype)
new_full = tg.full((2, 3), 2.0, x.dtype)
new_tensor = tg.tensor([1.0, 2.0], x.dtype)
data = x.detach() # the numbers are x.numpy(), which a Parameter changes by assign; the tensor without history is
copy_ set_ assign set = w.assign(w * 2.0) # tensors never change; only Parameters and Buffers do, by assign
assign_add = w.assign(w + 1.0) # tensors never change; only Parameters and Buffers do, by assign
assign_sub = w.assign(w - 1.0) # tensors never change; only Parameters and Buffers do, by assign
zero_ = w.assign(tg.zeros(w.shape)) # tensors never change; only Parameters and Buffers do, by assign
fill_ fill = w.assign(tg.full(w.shape, 2.0)) # tensors never change; only Parameters and Buffers do, by assign
normal_ = w.assign(tg.random.normal(w.shape)) # tensors never change; only Parameters and Buffers do, by assign
uniform_ = w.assign(tg.random.uniform(w.shape)) # tensors never change; only Parameters and Buffers do, by assign
add_ = x + 1.0 # tensors never change; a Parameter does, by p.assign(p + 1.0)
sub_ subtract_ = x - 1.0 # tensors never change; a Parameter does, by p.assign(p - 1.0)
mul_ multiply_ = x * 2.0 # tensors never change; a Parameter does, by p.assign(p * 2.0)
div_ divide_ = x / 2.0 # tensors never change; a Parameter does, by p.assign(p / 2.0)
pow_ = x**2 # tensors never change; a Parameter does, by p.assign(p ** 2)
add = x + y
sub subtract = x - y
mul multiply = x * y
div divide true_divide = x / y
neg negative = -x
pow = x**2
eq = x == y
ne not_equal = x != y
gt greater = x > y
ge greater_equal = x >= y
lt less = x < y
le less_equal = x <= y
real resolve_conj = x # complex numbers are not supported; of real ones this is
imag = tg.zeros(x.shape) # complex numbers are not supported; of real ones this is
is_complex = x.dtype.kind == "c"
is_floating_point = x.dtype.kind == "f"
is_signed = x.dtype.kind in "fi"
sgn = x.sign()
mm bmm mv matmul = x @ z
addmm addmv baddbmm = w + x @ z
ger = tg.outer(v, v)
det cholesky svd qr slogdet logdet = tg.linalg.{name}(m)
pinverse = tg.linalg.pinv(m)
inverse = tg.linalg.inv(m)
matrix_exp = tg.linalg.expm(m)
eig = tg.linalg.eigh(m) # of a symmetric matrix; of others they are complex numbers, which are not supported
solve lstsq = tg.linalg.{name}(m, w)
mvlgamma = tg.multigammaln(v + 2.0, 2)
igamma = tg.gammainc(v + 2.0, x)
igammac = tg.gammaincc(v + 2.0, x)
gcd lcm frexp = tg.custom_vjp(f) # no such function yet; NumPy's and SciPy's can be \
wrapped, with a derivative of their own
matrix_power = tg.linalg.matrix_power(m, 2)
dist = tg.sqrt(tg.square(x - y).sum())
clamp_min = tg.maximum(x, 0.0)
clamp_max = tg.minimum(x, 1.0)
msort = x.sort(axis=0)
unique_consecutive = np.unique(x.numpy()) # as many results as there are hits: a shape that depends on numbers is \
NumPy's work, such as
histc histogram = np.histogram(x.numpy(), bins=5)
aminmax = (x.min(), x.max())
amax = x.max(axis=1)
amin = x.min(axis=1)
float float32 = x.astype("float32")
double float64 = x.astype("float64")
half float16 = x.astype("float16")
bfloat16 = x.astype("float16") # not supported; the float of 16 bits is
long int64 = x.astype("int64")
int int32 = x.astype("int32")
short int16 = x.astype("int16")
byte uint8 = x.astype("uint8")
char int8 = x.astype("int8")
bool = x.astype("bool")
to type type_as cast as_type = x.astype("float32") # everything runs on the CPU; a dtype is changed by astype
cpu cuda is_cuda is_cpu get_device block_until_ready xpu mps devices sharding is_ready is_xpu is_mps committed \
platform addressable_data ipu mtia copy_to_host_async is_pinned is_shared = x # everything runs on the CPU; leave it \
out
clone copy = x # tensors never change: no copy is needed
detach_ = x.detach()
numel nelement = x.size
dim rank ndimension = x.ndim
element_size itemsize = x.dtype.itemsize
strides flags base ctypes = x.numpy().{name} # how numbers lie in memory is the array's
stride = x.numpy().strides # in bytes, as NumPy counts, it is
tobytes dump dumps tofile = x.numpy().tobytes()
flat = x.numpy().flat
storage untyped_storage layout = x.numpy()
values to_dense to_sparse coalesce as_subclass record_stream setflags = x
grad_fn creator = tg.graph(w * w) # graph(y) shows how y was computed
retains_grad = x.requires_grad
register_post_accumulate_grad_hook = (w * w).register_hook(print)
fill_diagonal_ = tg.where(tg.eye(2) > 0, 0.0, m)
weak_type = x.dtype
is_sparse is_quantized is_meta = x # there is one kind of tensor; leave it out
where = tg.where(x > 0, x, y)
addbmm = w + (x @ z).sum(axis=0)
triangular_solve = tg.linalg.solve_triangular(m, w)
cholesky_inverse = tg.linalg.inv(m)
lu lu_solve = tg.linalg.solve(m, w) # factors stay inside of
geqrf orgqr ormqr = tg.linalg.qr(m)
symeig = tg.linalg.eigh(m)
index_reduce = x.at[i].max(1.0) # set, add, multiply, min and max are methods of x.at[...], such as
diagonal_scatter = tg.where(tg.eye(2) > 0, 0.0, m)
renorm = x * tg.minimum(1.0, 2.0 / tg.vector_norm(x, axis=1, keepdims=True))
conj_physical resolve_neg = x # complex numbers are not supported; of real ones this is
heaviside float_power = tg.{name}(x, y)
ldexp = tg.ldexp(x, 3)
addr = x + tg.outer(w, v)
slice_scatter = x.at[:, 0:2].set(0.0)
select_scatter = x.at[:, 0].set(0.0)
isreal = np.isreal(x.numpy())
angle = tg.where(x < 0, np.pi, 0.0) # complex numbers are not supported; of real ones this is
cdouble cfloat chalf complex64 complex128 = tg.stack([x, y]) # complex numbers are not supported; keep the real and \
imaginary parts
bernoulli = tg.random.bernoulli(p)
is_same_size = x.shape == y.shape
is_nonzero = bool(v[0])
choose = tg.where(x > 0, x, y)
swapdims = x.swapaxes(0, 1)
name = tg.scope("block") # values have names by the scopes around them
as_strided = x.unfold(1, 2, 1) # arrays are laid out as NumPy does; windows are
view_as reshape_as = x.reshape(z.shape)
equal = np.array_equal(x.numpy(), y.numpy())
mode = np.unique(x.numpy(), return_counts=True) # no such function yet; the numbers and how often each comes are
argpartition partition = np.{name}(x.numpy(), 1)
masked_scatter = x.at[x > 3.0].set(v[:2])
scatter_reduce = x.at[i].multiply(2.0) # sums are add, products
apply_ = tg.exp(x) # functions are applied to tensors whole, without a loop
exponential_ = w.assign(-tg.log1p(-tg.random.uniform(w.shape))) # tensors never change; only Parameters and Buffers \
do, by assign
bernoulli_ = w.assign((tg.random.uniform(w.shape) < 0.5).astype("float32")) # tensors never change; only Parameters \
and Buffers do, by assign
clamp_ clip_ = x.clip(0.0, 1.0) # tensors never change; a new one is
sgn_ heaviside_ ldexp_ float_power_ addmm_ addmv_ baddbmm_ t_ unsqueeze_ \
clamp_min_ clamp_max_ masked_scatter_ swapdims_ resize_ = {plain} # tensors never change; a new one is

[Place]
mul = x.at[0].multiply(2.0)
sub = x.at[0].subtract(2.0)
div = x.at[0].divide(2.0)
pow = x.at[0].power(2.0)
minimum = x.at[0].min(2.0)
maximum = x.at[0].max(2.0)
"""
