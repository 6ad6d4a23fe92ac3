"""Functions of other libraries: a part of the table that `foreign` reads."""

from __future__ import annotations

__all__ = ["FUNCTIONS"]

FUNCTIONS = """
[tensorgraph]
mm bmm mv dot_general batch_matmul spmm = x @ z # of other axes tg.tensordot or tg.einsum
linear = x @ y.T # the last axes are multiplied
addmm addmv baddbmm = w + x @ z
addr = x + tg.outer(w, v)
fft = np.fft.fft(x.numpy()) # it needs complex numbers, which are not supported; NumPy's has no derivative
special signal sparse = np.linalg.inv(m.numpy()) # no such functions yet; NumPy's and SciPy's have no derivative, \
which custom_vjp gives
eig eigvals = tg.linalg.eigh(m) # of a symmetric matrix; of others they are complex numbers, which are not supported
LinAlgError = np.linalg.LinAlgError
frobenius_norm = tg.sqrt(tg.square(x).sum())
standardize = (x - x.mean(axis=-1, keepdims=True)) / tg.sqrt(x.var(axis=-1, keepdims=True) + 1e-5)
bmat = tg.concatenate([tg.concatenate([m, x], axis=1), tg.concatenate([m, y], axis=1)])
newaxis = tg.expand_dims(x, 0)
t = x.T
rollaxis = tg.moveaxis(x, 1, 0)
rev = tg.flip(x, 0)
view resize = tg.reshape(x, (3, 2))
collapse = tg.flatten(x)
expand broadcast = tg.broadcast_to(v, (2, 3))
split_with_sizes unsafe_split unsafe_chunk = tg.split(x, (1, 2), axis=1) # split takes the size of each part
gather = tg.take_along_axis(x, i[:, None], axis=1)
index_select = tg.take(x, i, axis=1)
as_strided = tg.sliding_window_view(v, 2) # arrays are laid out as NumPy does; windows are
narrow slice slice_in_dim dynamic_slice dynamic_slice_in_dim = x[:, 0:2]
index_in_dim dynamic_index_in_dim = x[:, 0:1]
dynamic_update_slice dynamic_update_slice_in_dim slice_scatter = x.at[:, 0:2].set(0.0)
scatter scatter_ = tg.put_along_axis(x, i[:, None], 9.0, axis=1)
index_add = x.at[i].add(1.0)
index_put index_copy index_fill = x.at[i].set(1.0)
masked_fill putmask place copyto masked_fill_ = tg.where(x > 0, 0.0, x) # tensors never change; a new one is
masked_select = x[x > 1.0]
select_n = tg.where(x > 0, x, 0.0) # where chooses by a condition, and x[:, 0] one index; of several conditions each \
has a where
histogram histc = np.histogram(x.numpy(), bins=5)
msort = tg.sort(x, axis=0)
truediv = tg.divide(x, y)
integer_pow = x**2
rsub = y - x
rem = tg.fmod(x, y)
resolve_conj conj_physical real_if_close = x # complex numbers are not supported; of real \
ones this is
mvlgamma = tg.multigammaln(v + 2.0, 2)
igamma = tg.gammainc(v + 2.0, x)
igammac = tg.gammaincc(v + 2.0, x)
gcd lcm frexp betainc zeta polar lu bessel_i0e bessel_i1e = \
tg.custom_vjp(f) # no such function yet; NumPy's and SciPy's can be wrapped, with a derivative of their own
shift_left = tg.left_shift(i, 1)
sgn = tg.sign(x)
around = tg.round(x, 2)
clamp_min = tg.maximum(x, 0.0)
clamp_max = tg.minimum(x, 1.0)
erf_inv = tg.erfinv(x / 10.0)
is_finite = tg.isfinite(x)
logistic = tg.sigmoid(x)
hard_tanh = tg.hardtanh(x)
hard_sigmoid = tg.hardsigmoid(x)
hard_silu = tg.hardswish(x)
soft_sign = tg.softsign(x)
rrelu = tg.leaky_relu(x, 11 / 48)
squareplus = 0.5 * (x + tg.sqrt(tg.square(x) + 4.0))
gumbel_softmax = tg.softmax(x + tg.random.gumbel(x.shape))
log1mexp = tg.log(-tg.expm1(-x))
logmeanexp = tg.logsumexp(x) - np.log(x.size)
cumlogsumexp = tg.logcumsumexp(x, axis=0)
associative_scan = tg.cumsum(x, axis=0) # sums, products, maxima and linear recurrences along an axis are functions, \
such as
std_mean = (tg.std(x, correction=1), tg.mean(x))
var_mean = (tg.var(x, correction=1), tg.mean(x))
mode = np.unique(x.numpy(), return_counts=True) # no such function yet; the numbers and how often each comes are
nanargmax = tg.argmax(tg.where(tg.isnan(x), -np.inf, x))
nanargmin = tg.argmin(tg.where(tg.isnan(x), np.inf, x))
aminmax = (x.min(), x.max())
amax reduce_max = tg.max(x, axis=1)
amin reduce_min = tg.min(x, axis=1)
reduce_sum = tg.sum(x, axis=1)
reduce_mean = tg.mean(x, axis=1)
reduce_prod = tg.prod(x, axis=1)
array_equiv = np.{name}(x.numpy(), y.numpy())
rand_like = tg.random.uniform(x.shape, x.dtype)
randn_like = tg.random.normal(x.shape, x.dtype)
range = tg.arange(1, 4) # arange leaves out its end
iota = tg.arange(3)
mgrid = tg.indices((3, 4))
ogrid = (tg.arange(3)[:, None], tg.arange(4)[None, :])
cartesian_prod = tg.stack(tg.meshgrid(v, w, indexing="ij"), axis=-1).reshape(-1, 2)
ix_ r_ c_ s_ index_exp True_ False_ object_ str_ bytes_ datetime64 timedelta64 character complexfloating flexible void \
ufunc errstate matrix = np.{name} # NumPy's own serve, also as indices
apply_along_axis apply_over_axes vectorize frompyfunc map = tg.vmap(tg.sort)(x)
ndindex ndenumerate nditer = np.ndindex(x.shape)
rand = tg.random.uniform((2, 3))
randn = tg.random.normal((2, 3))
randint = tg.random.randint(0, 10, (2, 3))
randperm = tg.random.permutation(10)
bernoulli = tg.random.bernoulli(0.3, (2, 3))
categorical = tg.random.categorical(x)
multinomial = tg.random.categorical(tg.log(x))
manual_seed set_seed PRNGKey = tg.random.seed(0)
get_rng_state initial_seed default_generator = tg.random.state().numpy()
set_rng_state = tg.random.state().assign(tg.random.state().numpy())
array asarray asanyarray ascontiguousarray as_tensor from_numpy from_dlpack Variable convert_to_tensor constant \
frombuffer fromiter scalar_tensor device_put asfortranarray asarray_chkfinite = tg.tensor([1.0, 2.0])
FloatTensor = tg.tensor([1.0, 2.0], dtype="float32")
DoubleTensor = tg.tensor([1.0, 2.0], dtype="float64")
HalfTensor = tg.tensor([1.0, 2.0], dtype="float16")
LongTensor = tg.tensor([1, 2], dtype="int64")
IntTensor = tg.tensor([1, 2], dtype="int32")
ByteTensor = tg.tensor([1, 2], dtype="uint8")
BoolTensor = tg.tensor([True, False])
clone copy detach_copy = x # tensors never change: no copy is needed
detach = x.detach()
to_numpy device_get = x.numpy()
is_tensor = isinstance(x, tg.Tensor)
is_floating_point = x.dtype.kind == "f"
is_complex iscomplexobj iscomplex = x.dtype.kind == "c"
numel = x.size
shape size ndim = x.{name}
float float_ single = tg.tensor([1.0], dtype=tg.f32)
double = tg.tensor([1.0], dtype=tg.f64)
half = tg.tensor([1.0], dtype=tg.f16)
bfloat16 = tg.f16 # not supported; the float of 16 bits is
float128 longdouble = tg.f64 # not supported; the widest float is
complex64 complex128 cfloat cdouble csingle complex view_as_real view_as_complex chalf complex32 complex_ complex256 \
clongdouble = tg.stack([x, y]) # complex numbers are not supported; keep the real and imaginary parts
byte = tg.i8
short = tg.i16
int intc = tg.i32
long int_ intp longlong = tg.i64
ubyte = tg.u8
ushort = tg.u16
uintc = tg.u32
uint ulong ulonglong uintp = tg.u64
dtype = tg.f32
floating integer inexact number signedinteger unsignedinteger generic = np.{name}
finfo = tg.numpy.finfo(x.dtype)
iinfo = tg.numpy.iinfo(i.dtype)
cast = x.astype("float32")
functional_call = tg.functional(nn.Linear(3, 2)) # a function and the parameters it is called with
promote_types = np.promote_types(x.dtype, y.dtype)
result_type can_cast issubdtype = tg.numpy.{name}(x.dtype, y.dtype)
broadcast_shapes = tg.numpy.broadcast_shapes((2, 1), (3,))
convert_element_type = x.astype("float64")
ndarray Array = tg.Tensor
ShapeDtypeStruct TensorSpec = tg.spec((2, 3), "float32")
eval_shape = tg.trace(f, tg.spec((2, 3)))
typeof = x.aval
pi e inf nan euler_gamma = np.{name}
set_default_device device cuda backends mps get_default_device devices local_devices device_count default_device \
default_backend get_device = tg.tensor([1.0]) # everything runs on the CPU; leave the device out
autocast amp GradScaler = nn.Linear(3, 2, dtype="float64") # there is no mixed precision; a dtype is given to the \
layers
set_grad_enabled inference_mode = tg.no_grad()
set_default_tensor_type get_default_dtype enable_x64 config = tg.default_dtype() # tg.set_default_dtype("float64") \
sets what is read by
set_anomaly_enabled debug_infs = tg.debug_nans()
autograd = tg.gradients([(w * w).sum()], [w])
GradientTape = tg.grad(f) # gradients are asked for of a function, or of a loss by backward()
function script = tg.trace(f, x).transform() # a graph that is traced once is rewritten and run again
pmap xmap shard_map = tg.vmap(tg.exp)(x) # one process runs the threads
func functorch = tg.grad(f)
grad_and_value = tg.value_and_grad(f)
linear_transpose = tg.vjp(f, x)
make_jaxpr fx symbolic_trace export = tg.trace(f, x)
onnx = str(tg.trace(f, x)) # there are no ONNX files; a graph is text
custom_jvp custom_gradient pure_callback = tg.custom_vjp(f)
remat = tg.checkpoint(f)
named_scope named_call = tg.scope("block")
block_until_ready = x # a result is there when a call returns; leave it out
profiler = tg.profile(f, x)
tree_util tree tree_multimap tree_leaves tree_flatten = tg.tree_map(tg.exp, {"w": x})
lax cond switch = tg.where(x > 0, x, -x) # Python's own if runs eagerly; in graphs a choice by numbers is where
while_loop fori_loop = tg.scan(lambda h, _: (h * x, None), x, length=3)[0] # Python's own loops run eagerly and are \
unrolled in graphs; one equation, of a known number of steps, is
scipy = tg.exp(x) # SciPy's special functions stand in tensorgraph itself
F = tg.relu(x) # functions stand in tensorgraph itself
cross_entropy = tg.softmax_cross_entropy(x, i)
dropout = tg.random.dropout(x, 0.5) # in a model nn.Dropout(0.5) is a layer
dropout1d dropout2d alpha_dropout = nn.Dropout(0.5)(x)
conv conv_general_dilated depthwise_conv separable_conv = tg.conv2d(image, tg.ones((1, 1, 2, 2))) # channels stand on \
axis 1, and groups= keeps them apart
conv_transpose = tg.conv_transpose2d(image, tg.ones((1, 1, 2, 2)))
reduce_window = tg.max_pool2d(image, 2) # of maxima; of sums, tg.sum_pool
upsample = tg.interpolate(image, scale_factor=2)
dot_product_attention memory_efficient_attention = tg.attention(x, y, y)
keras layers models Model = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
optimizers = optim.Adam(model)
lr_scheduler = optim.cosine(0.1, steps=100)
losses = tg.softmax_cross_entropy(x, i)
datasets = data.load_digits()
callbacks = train.EarlyStop(patience=5)
load_state_dict = model.load_state_dict(model.state_dict())
utils = data.Loader(np.zeros((4, 2)), batch_size=2) # what stands there is tg.checkpoint, optim.clip_grad_norm and
summary = model.summary()
asnumpy = x.numpy()
set_printoptions get_printoptions = np.get_printoptions() # numbers are printed as NumPy is told to by \
np.set_printoptions
CELU ELU GELU SELU Embedding GroupNorm InstanceNorm LayerNorm RMSNorm Hardsigmoid Hardswish Hardtanh LogSigmoid Mish \
ModuleDict ModuleList PReLU ReLU6 SiLU Softplus Softsign from_torch_state to_torch_state = tg.nn.{name}
Conv1d Conv2d Conv3d ConvTranspose1d ConvTranspose2d ConvTranspose3d MaxPool1d MaxPool2d MaxPool3d AvgPool1d \
AvgPool2d AvgPool3d AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveAvgPool3d AdaptiveMaxPool1d AdaptiveMaxPool2d \
AdaptiveMaxPool3d Dropout1d Dropout2d Dropout3d = tg.nn.{name}
PixelShuffle PixelUnshuffle Upsample = tg.nn.{name}
BatchNorm Dropout Flatten GraphModule Identity Lambda LeakyReLU Linear LogSoftmax ReLU Sequential Sigmoid Softmax Tanh \
GRU LSTM RNN GRUCell LSTMCell RNNCell MultiHeadAttention TransformerEncoder TransformerEncoderLayer \
positional_encoding init = tg.nn.{name}
SGD Momentum RMSprop Adam AdamW Optimizer Schedule clip_value clip_grad_norm clip_grad_value by_hand cosine \
exponential inverse_sqrt inverse_time staircase warmup = tg.optim.{name}
Rows open_csv open_idx open_npy prefetch = tg.data.{name}
Dataset Loader Normalizer NotFittedError load_digits minibatches read_csv read_idx read_npz write_idx = tg.data.{name}
EarlyStop History NonFiniteLossError Prediction Predictor Run RunBusyError Training evaluate fit metrics \
predict = tg.train.{name}
Generator beta choice dirichlet gamma gumbel laplace multivariate_normal seed truncated_normal = tg.random.{name}
fans he_normal he_uniform lecun_normal lecun_uniform torch_uniform xavier_normal xavier_uniform = tg.nn.init.{name}
Drawing = tg.viz.Drawing
Dense = tg.nn.Linear(3, 2)
DataLoader = tg.data.Loader(np.zeros((4, 2)), batch_size=2)
select_scatter dynamic_update_index_in_dim = x.at[:, 0].set(0.0)
scatter_sub = x.at[i].add(-1.0)
scatter_mul scatter_apply = x.at[i].multiply(2.0)
unique_consecutive = np.unique(x.numpy(), return_counts=True) # as many results as there are hits: a shape that \
depends on numbers is NumPy's work
hamming hanning bartlett blackman = tg.tensor(np.{name}(5), tg.f32) # no such function yet; NumPy's is
hann_window hamming_window bartlett_window blackman_window = tg.tensor(np.hanning(5), tg.f32) # no such function yet; \
NumPy's, such as hanning, are
poly polyadd polyder polydiv polyfit polyint polymul polysub roots = np.{name} # no such function yet; NumPy's \
has no derivative
isscalar isreal isrealobj iterable = np.{name}(1.0)
broadcast_in_dim broadcast_like broadcast_to_rank = tg.broadcast_to(v, (2, 3))
broadcasted_iota = tg.broadcast_to(tg.arange(3), (2, 3))
reduce_and = tg.all(x > 0, axis=1)
reduce_or = tg.any(x > 0, axis=1)
is_same_size = x.shape == y.shape
is_nonzero = bool(v[0])
randint_like = tg.random.randint(0, 10, x.shape)
binomial = tg.sum(tg.random.bernoulli(0.3, (10, 2, 3)), axis=0)
poisson = np.random.default_rng(0).{name} # no such draws yet; NumPy's generators have
constant_pad_nd = tg.pad(x, ((0, 0), (1, 1)))
ctc_loss multilabel_margin_loss = tg.softmax_cross_entropy(x, i) # no such function yet; where there is one label an \
element, without alignment, it is
linear_cross_entropy = tg.softmax_cross_entropy(x @ m3, i)
bilinear = (x @ m3 * x).sum(axis=-1) # no such function yet; for one output it is
embedding_bag = x[i].mean(axis=0) # no such function yet; one bag is
multi_head_attention_forward = tg.attention(x, y, y)
fold = tg.col2im(tg.im2col(image, 2), (4, 4), 2)
lstm_cell gru_cell rnn_cell = tg.lstm(tg.ones((2, 1, 3)), tg.ones((3, 16)), tg.ones((4, 16))) # of one step it is
rnn_tanh = tg.rnn(tg.ones((2, 5, 3)), tg.ones((3, 4)), tg.ones((4, 4)))
rnn_relu = tg.rnn(tg.ones((2, 5, 3)), tg.ones((3, 4)), tg.ones((4, 4)), activation="relu")
savez savez_compressed savetxt loadtxt genfromtxt fromfile memmap fromstring fromfunction = np.{name} # tg.save and \
tg.load are of models; arrays are NumPy's
Size = tuple(x.shape)
memory_format channels_last contiguous_format preserve_format strided layout = x # arrays are laid out as NumPy does; \
leave it out
initializers = nn.init.he_normal((3, 2))
disable_jit = f(x) # functions run eagerly unless they are traced; leave it out
debug = tg.explain_gradient(f, x) # Python's print and breakpoint work in functions; of gradients there is
einsum_path = tg.einsum("ij,jk->ik", x, z, optimize="optimal") # einsum finds the order itself
ma = tg.where(x > 1.0, x, 0.0) # no masked arrays; a choice by a condition is where
Module = tg.nn.Module
fill fill_ = tg.full(x.shape, 2.0, x.dtype)
zero_ = tg.zeros(x.shape, x.dtype) # tensors never change; a new one is
Gradient = tg.gradients([(w * w).sum()], [w])
Group = tg.optim.Group
key state = tg.random.{name}
sort_key_val = (tg.sort(v), v[tg.argsort(v)])
masked_scatter = x.at[x > 3.0].set(v[:2])
psum = tg.sum(x, axis=0) # axes have no names; over a batch it is
pmean = tg.mean(x, axis=0) # axes have no names; over a batch it is
pmax = tg.max(x, axis=0) # axes have no names; over a batch it is
pmin = tg.min(x, axis=0) # axes have no names; over a batch it is
all_gather axis_index ppermute sharding NamedSharding = x # one process runs all; leave it out
shuffle = v[tg.random.permutation(3)]
trim_zeros unwrap spacing = np.{name}(v.numpy()) # no such function yet; without a derivative, NumPy's
histogram2d = np.histogram2d(v.numpy(), v.numpy()) # no such function yet; without a derivative, NumPy's
kaiser = tg.tensor(np.kaiser(5, 14.0), tg.f32) # no such function yet; NumPy's is
grid_sample affine_grid stft istft grid_sampler grid_sampler_2d grid_sampler_3d max_unpool1d max_unpool2d max_unpool3d \
fractional_max_pool2d fractional_max_pool3d i0e i1e bessel_j0 bessel_j1 spherical_bessel_j0 = \
tg.custom_vjp(f) # no such function yet; compose it, or wrap NumPy's with a derivative of its own
upsample_nearest = tg.interpolate(image, scale_factor=2)
upsample_bilinear = tg.interpolate(image, scale_factor=2, mode="bilinear", align_corners=True)
entr = -tg.xlogy(p, p)
combinations = v[np.transpose(np.triu_indices(3, 1))] # of two it is
renorm = x * tg.minimum(1.0, 2.0 / tg.vector_norm(x, axis=1, keepdims=True))
scatter_reduce index_reduce = x.at[i].max(1.0) # set, add, multiply, min and max are methods of x.at[...], such as
segment_reduce = tg.segment_sum(x, i, 3)
diagonal_scatter = tg.where(tg.eye(2) > 0, 0.0, m)
addbmm = w + (x @ z).sum(axis=0)
triangular_solve = tg.linalg.solve_triangular(m, w)
cholesky_inverse = tg.linalg.inv(m)
cholesky_ex inv_ex = tg.linalg.cholesky(m) # what is singular raises numpy.linalg.LinAlgError; without _ex it is
solve_ex lu_factor lu_solve lu_factor_ex lu_unpack ldl_factor ldl_solve ldl_factor_ex = tg.linalg.solve(m, w) # the \
factors stay inside of
geqrf orgqr ormqr householder_product = tg.linalg.qr(m)
svd_lowrank pca_lowrank = tg.linalg.svd(x, full_matrices=False)
symeig = tg.linalg.eigh(m)
nuclear_norm = tg.norm(x, "nuc")
dropout3d feature_dropout feature_alpha_dropout = nn.Dropout(0.5)(x)
triplet_margin_with_distance_loss = tg.relu(tg.cdist(x, y) - tg.cdist(x, x) + 1.0).mean()
lp_pool3d = tg.lp_pool2d(image, 2.0, 2) # of two axes it is
view_copy permute_copy transpose_copy t_copy squeeze_copy unsqueeze_copy expand_copy diagonal_copy unbind_copy \
unfold_copy narrow_copy alias_copy select_copy slice_copy split_copy split_with_sizes_copy = x # tensors never change; \
leave _copy out, as in x.reshape and tg.squeeze
native_layer_norm = tg.layer_norm(x)
native_group_norm = tg.group_norm(image, 1)
native_batch_norm = tg.batch_norm(x, tg.ones(3), tg.zeros(3))
"""
