"""Names of PyTorch, JAX, NumPy and Keras that are others here, each with what to write.

One table answers every AttributeError and every unknown keyword. A line is ``name name = code # words``: the code is
an expression that runs here (a test runs it with the names of its `SAMPLES`), the words come before it. A line goes
when the library has the name: a test says which.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NoReturn

from tensorgraph.arguments.near import near

__all__ = ["absent", "answer", "entries", "getter", "keyword_hint", "keywords", "put_absent"]

TABLE = """
[tensorgraph]
einsum = tg.matmul(x, y.T) # no einsum yet; a product over one axis is matmul, others are broadcast and summed
tensordot inner vdot dot mm bmm mv matvec vecdot addmm linear = x @ y.T
outer ger = v[:, None] * v[None, :]
kron = (x[:, None, :, None] * y[None, :, None, :]).reshape(4, 9)
linalg fft = tg.custom_vjp(f) # no such functions yet; NumPy's can be wrapped with a derivative of their own
norm = tg.sqrt(tg.square(x).sum(axis=-1))
diag_embed = v[:, None] * tg.eye(3) # no such function yet; a diagonal matrix is a product with eye
append = tg.concatenate([x, y], axis=0)
unsqueeze newaxis = tg.expand_dims(x, 0)
permute permute_dims = tg.transpose(x, (1, 0))
view = tg.reshape(x, (-1,))
expand broadcast = tg.broadcast_to(v, (2, 3))
chunk array_split tensor_split hsplit vsplit = tg.split(x, (1, 2), axis=1)
gather index_select = x[:, i] # indexing takes lists, arrays and integer tensors; along an axis, take_along_axis
scatter index_add index_put scatter_add_ scatter_ = x.at[i].add(1.0)
masked_fill masked_fill_ masked_select select choose piecewise = tg.where(x > 0, x, 0.0)
nonzero argwhere unique searchsorted bincount histogram = np.flatnonzero(v.numpy()) # as many results as there are \
hits: a shape that depends on numbers is NumPy's work
argsort topk lexsort = np.argsort(v.numpy()) # no such function yet; tg.sort gives the values
fabs = tg.absolute(x)
float_power = tg.power(x, 2.0)
truediv = tg.divide(x, y)
rsqrt = 1.0 / tg.sqrt(tg.absolute(x))
glu = x * tg.sigmoid(x) # no such function yet; compose it of exp, tanh, sigmoid and where, as swish is here
std_mean var_mean = tg.std(x)
average = tg.mean(x)
median quantile percentile mode nanmedian = np.median(x.numpy()) # no such function yet; without a derivative, NumPy's
nansum nanmean = tg.where(tg.isnan(x), 0.0, x).sum()
amax = tg.max(x, axis=1)
amin = tg.min(x, axis=1)
cosine_similarity = (x * y).sum(axis=1)
cdist = tg.square(x[:, None] - y[None]).sum(axis=-1)
allclose isclose array_equal = np.allclose(x, y)
zeros_like empty_like = tg.zeros(x.shape, x.dtype)
ones_like = tg.ones(x.shape, x.dtype)
full_like = tg.full(x.shape, 2.0, x.dtype)
empty = tg.zeros((2, 3))
identity = tg.eye(3)
linspace logspace = tg.tensor(np.linspace(0.0, 1.0, 5))
indices = tg.arange(3)[:, None] + tg.arange(4)[None, :]
rand = tg.random.uniform((2, 3))
randn = tg.random.normal((2, 3))
randint multinomial bernoulli = tg.random.permutation(10)
randperm = tg.random.permutation(10)
manual_seed set_seed PRNGKey = tg.random.seed(0)
array asarray as_tensor from_numpy Variable convert_to_tensor constant frombuffer FloatTensor LongTensor device_put = \
tg.tensor([1.0, 2.0])
to_numpy device_get = x.numpy()
is_tensor = isinstance(x, tg.Tensor)
numel = x.size
float32 float float_ single = tg.tensor([1.0], dtype=tg.f32)
float64 double = tg.tensor([1.0], dtype=tg.f64)
float16 half = tg.tensor([1.0], dtype=tg.f16)
bfloat16 complex64 complex128 cfloat = tg.f16 # not supported; the smallest float is f16
int8 = tg.i8
int16 short = tg.i16
int32 int = tg.i32
int64 long = tg.i64
uint8 = tg.u8
uint16 = tg.u16
uint32 = tg.u32
uint64 = tg.u64
bool = tg.bool_
dtype = tg.f32
ndarray Array = tg.Tensor
ShapeDtypeStruct TensorSpec = tg.spec((2, 3), "float32")
pi e inf nan = np.pi
set_default_device device cuda backends mps get_default_device = tg.tensor([1.0]) # everything runs on the CPU; leave \
the device out
set_grad_enabled inference_mode = tg.no_grad()
set_default_tensor_type get_default_dtype = tg.default_dtype()
autograd = tg.gradients([(w * w).sum()], [w])
GradientTape = tg.grad(f) # gradients are asked for of a function, or of a loss by backward()
function compile script = tg.trace(f, x).transform() # a graph that is traced once is rewritten and run again
pmap xmap = tg.vmap(tg.exp)(x)
func functorch = tg.grad(f)
jacfwd jacrev = tg.jacobian(f)
linearize = tg.jvp(f, (x,), (y,))
make_jaxpr fx symbolic_trace export = tg.trace(f, x)
custom_jvp = tg.custom_vjp(f)
remat = tg.checkpoint(f)
tree_util tree tree_multimap tree_leaves tree_flatten = tg.tree_map(tg.exp, {"w": x})
lax scan cond while_loop fori_loop switch = tg.where(x > 0, x, -x) # Python's own for and if run eagerly and are \
unrolled in graphs; a choice by numbers is where
numpy scipy = tg.exp(x) # NumPy's names stand in tensorgraph itself
F = tg.relu(x) # functions stand in tensorgraph itself
Module = nn.Module
cross_entropy = tg.softmax_cross_entropy(x, i)
nll_loss = -tg.log_softmax(x)[tg.arange(2), i].mean()
mse_loss = tg.square(x - y).mean()
l1_loss = tg.absolute(x - y).mean()
smooth_l1_loss huber_loss = tg.where(tg.absolute(x) < 1.0, 0.5 * tg.square(x), tg.absolute(x) - 0.5).mean()
binary_cross_entropy_with_logits binary_cross_entropy = (tg.softplus(x) - x * y).mean() # of logits x and targets y
kl_div = (tg.exp(y) * (y - x)).sum()
dropout = nn.Dropout(0.5)(x)
conv1d conv2d conv3d unfold = sum(w[k] * v[k : k + 2] for k in range(2)) # no convolution yet; one is a sum over \
shifted slices
max_pool2d avg_pool2d interpolate = tg.max(tg.stack([v[:-1], v[1:]]), axis=0) # no pooling yet; one is a maximum, or a \
mean, over shifted slices
embedding = x[i]
scaled_dot_product_attention = tg.softmax(x @ y.T / 3.0**0.5) @ y
keras layers = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
optimizers = optim.Adam(model)
losses = tg.softmax_cross_entropy(x, i)
load_state_dict = model.load_state_dict(model.state_dict())
utils = data.Loader(np.zeros((4, 2)), batch_size=2)
summary = model.summary()
asnumpy = x.numpy()

[tensorgraph.nn]
Parameter = tg.Parameter([1.0, 2.0])
Buffer = tg.Buffer([1.0, 2.0])
Dense LazyLinear Bilinear = nn.Linear(3, 2)
BatchNorm1d BatchNorm2d BatchNorm3d BatchNormalization SyncBatchNorm = nn.BatchNorm(3)
LayerNorm GroupNorm InstanceNorm1d InstanceNorm2d RMSNorm LayerNormalization = \
nn.Lambda(lambda x: tg.layer_norm(x, tg.ones(3), tg.zeros(3))) # no such layer yet; the op is layer_norm
ModuleList ModuleDict ParameterList ParameterDict = [nn.Linear(3, 3), nn.Linear(3, 2)] # a plain list or dict of \
modules, assigned to an attribute, is found
Embedding EmbeddingBag = nn.Lambda(lambda ids: tg.one_hot(ids, 10) @ tg.ones((10, 4))) # no such layer yet; a \
Parameter that is indexed, self.table[ids], is one
Conv1d Conv2d Conv3d ConvTranspose2d Conv = sum(w[k] * v[k : k + 2] for k in range(2)) # no convolution yet; one is a \
sum over shifted slices, in a Module of your own
MaxPool2d AvgPool2d AdaptiveAvgPool2d Upsample MaxPooling2D = tg.max(tg.stack([v[:-1], v[1:]]), axis=0) # no pooling \
yet; one is a maximum, or a mean, over shifted slices
RNN LSTM GRU LSTMCell GRUCell RNNCell = tg.tanh(nn.Linear(3, 2)(x)) # no recurrent layers yet; a loop over time in \
forward, of steps such as this one, is one
MultiheadAttention Transformer TransformerEncoderLayer MultiHeadAttention = tg.softmax(x @ x.mT / 3.0**0.5) @ x # no \
attention layer yet; with three Linear layers before it this is one
GELU SiLU ELU SELU Mish Hardtanh ReLU6 Swish = nn.Lambda(lambda x: x * tg.sigmoid(x)) # no such layer yet; any \
function is a layer
Softplus = nn.Lambda(tg.softplus)
LogSigmoid = nn.Lambda(lambda x: -tg.softplus(-x))
PReLU = nn.LeakyReLU(0.25)
Activation = nn.ReLU()
Dropout1d Dropout2d Dropout3d AlphaDropout = nn.Dropout(0.5)
Unflatten Reshape = nn.Lambda(lambda x: x.reshape(-1, 1, 3))
CrossEntropyLoss SparseCategoricalCrossentropy CategoricalCrossentropy = tg.softmax_cross_entropy(x, i)
MSELoss MeanSquaredError = tg.square(x - y).mean()
L1Loss = tg.absolute(x - y).mean()
BCEWithLogitsLoss BCELoss BinaryCrossentropy = (tg.softplus(x) - x * y).mean() # of logits x and targets y
NLLLoss = -tg.log_softmax(x)[tg.arange(2), i].mean()
functional = tg.relu(x) # functions stand in tensorgraph itself
utils = optim.clip_grad_norm(model.parameters(), 1.0)
relu sigmoid tanh softmax = tg.relu(x) # functions stand in tensorgraph itself
DataParallel = model # one process runs the threads; leave it out
compact Model = nn.Module

[tensorgraph.optim]
Adagrad Adadelta NAdam RAdam Adamax Lamb Lion LBFGS Rprop Muon = optim.Adam(model) # no such optimiser yet
RMSProp rmsprop = optim.RMSprop(model)
sgd = optim.SGD(model)
adam = optim.Adam(model)
adamw = optim.AdamW(model)
lr_scheduler LRScheduler = optim.SGD(model, lr=optim.cosine(0.1, steps=100)) # a schedule is given as lr=
StepLR MultiStepLR = optim.SGD(model, lr=optim.staircase(0.1, 0.5, every=30))
ExponentialLR ExponentialDecay exponential_decay = optim.SGD(model, lr=optim.exponential(0.1, 0.95))
CosineAnnealingLR CosineDecay cosine_decay_schedule = optim.SGD(model, lr=optim.cosine(0.1, steps=100))
LambdaLR = optim.SGD(model, lr=optim.Schedule(lambda t: 0.1 / (1.0 + t)))
OneCycleLR warmup_cosine_decay_schedule = optim.SGD(model, lr=optim.warmup(10) * optim.cosine(0.1, steps=100))
constant_schedule = optim.constant(0.1)
clip_grad_norm_ clip_by_global_norm = optim.clip_grad_norm(model.parameters(), 1.0)
clip_grad_value_ clip = optim.clip_grad_value(model.parameters(), 1.0)
apply_updates chain = optim.SGD(model).minimize(loss) # an optimiser changes the parameters it was given

[tensorgraph.data]
DataLoader BatchSampler = data.Loader(np.zeros((4, 2)), np.zeros(4), batch_size=2)
TensorDataset ArrayDataset = data.Dataset(np.zeros((4, 2)), np.zeros(4))
random_split train_test_split = data.split(np.zeros((10, 2)), np.zeros(10))
StandardScaler Normalization = data.Normalizer()
from_tensor_slices = data.Loader(np.zeros((4, 2)), batch_size=2)
loadtxt genfromtxt = data.read_csv # read_csv(path) reads a table
load_iris fetch_openml mnist MNIST = data.load_digits # load_digits() is what comes along

[tensorgraph.train]
EarlyStopping = train.EarlyStop(patience=5)
ModelCheckpoint Checkpoint = train.fit # fit(..., checkpoint="run.safetensors", resume=True)
TrainState Trainer = train.fit # fit(model, (x, y), optimizer=..., epochs=...)

[tensorgraph.random]
PRNGKey manual_seed default_rng RandomState = tg.random.Generator(0)
rand random random_sample = tg.random.uniform((2, 3))
randn standard_normal = tg.random.normal((2, 3))
shuffle randperm = tg.random.permutation(10)
randint choice categorical bernoulli = tg.random.permutation(10) # no such function yet
split fold_in = tg.random.Generator(1) # a generator keeps its own state; make one for each use
get_state set_state get_rng_state = tg.random.state()

[tensorgraph.nn.init]
kaiming_normal kaiming_normal_ he_normal_ HeNormal = nn.init.he_normal((3, 2))
kaiming_uniform kaiming_uniform_ he_uniform_ HeUniform = nn.init.he_uniform((3, 2))
glorot_normal xavier_normal_ GlorotNormal = nn.init.xavier_normal((3, 2))
glorot_uniform xavier_uniform_ GlorotUniform = nn.init.xavier_uniform((3, 2))
normal_ RandomNormal trunc_normal_ truncated_normal = nn.init.normal((3, 2), std=0.02)
uniform_ RandomUniform = nn.init.uniform((3, 2), low=-0.1, high=0.1)
zeros_ Zeros = nn.init.zeros((2,))
ones_ Ones = nn.init.ones((2,))
constant_ Constant = nn.init.constant((2,), value=0.1)
orthogonal orthogonal_ eye_ dirac_ sparse_ = nn.Linear(3, 2, weight_init=lambda shape: np.eye(*shape)) # no such \
initialiser yet; any function of a shape is one

[Tensor]
view view_as resize contiguous reshape_as = x.reshape(-1)
permute t = x.transpose(1, 0)
unsqueeze = x[None]
expand expand_as repeat = tg.broadcast_to(x, (4, 2, 3))
chunk = tg.split(x, (1, 2), axis=1)
gather index_select = x[:, i]
scatter scatter_add scatter_ scatter_add_ index_add_ index_put_ = x.at[i].add(1.0)
masked_fill masked_fill_ masked_select = tg.where(x > 0, x, 0.0)
add_ = x + 1.0 # tensors never change; a Parameter does, by p.assign(p + 1.0)
sub_ subtract_ = x - 1.0 # tensors never change; a Parameter does, by p.assign(p - 1.0)
mul_ = x * 2.0 # tensors never change; a Parameter does, by p.assign(p * 2.0)
div_ = x / 2.0 # tensors never change; a Parameter does, by p.assign(p / 2.0)
data = x.detach()
copy_ set fill_ zero_ assign assign_add assign_sub normal_ uniform_ = w.assign(w - 0.1) # only Parameters and \
Buffers change, by assign
add = x + y
sub subtract = x - y
mul multiply = x * y
div divide = x / y
neg = -x
pow = x ** 2
rsqrt = 1.0 / tg.sqrt(x)
dot matmul mm bmm mv = x @ y.T
outer = v[:, None] * v[None, :]
norm = tg.sqrt(tg.square(x).sum())
clamp_ clip_ = x.clip(0.0, 1.0)
argsort topk = np.argsort(x.numpy()) # no such function yet; x.sort() gives the values
nonzero = np.nonzero(x.numpy())
amax = x.max(axis=1)
amin = x.min(axis=1)
flip = tg.flip(x)
H = x.T
float float32 = x.astype("float32")
double float64 = x.astype("float64")
half bfloat16 = x.astype("float16")
long int64 = x.astype("int64")
int int32 = x.astype("int32")
bool = x.astype("bool")
to type type_as cast as_type = x.astype("float32") # everything runs on the CPU; a dtype is changed by astype
cpu cuda device to_device is_cuda pin_memory block_until_ready = x # everything runs on the CPU; leave it out
clone copy = tg.tensor(x)
detach_ = x.detach()
numel nelement = x.size
dim rank = x.ndim
element_size itemsize = x.dtype.itemsize
grad_fn creator = tg.graph(w * w) # graph(y) shows how y was computed
is_contiguous stride strides = x.numpy().strides
fill_diagonal_ = tg.where(tg.eye(3) > 0, 0.0, x[:1])

[Module]
to cuda cpu float double half type = model # everything runs on the CPU; a dtype is given to the layers, \
nn.Linear(3, 2, dtype="float64")
children named_children layers = [part for _, part in model.named_modules()]
weights trainable_weights trainable_variables variables get_weights = model.parameters()
set_weights = model.load_state_dict(model.state_dict())
add_module register_module add = model # assign it: model.name = nn.Linear(3, 2); of Sequential, append
register_parameter = model # assign it: model.name = tg.Parameter(...)
register_buffer = model # assign it: model.name = tg.Buffer(...)
register_forward_hook register_forward_pre_hook register_full_backward_hook = (w * w).register_hook(print) # tensors \
have hooks, modules none; wrap the module's forward
apply = [part for _, part in model.named_modules()] # modules are walked by a loop; functions of parameters take \
tg.tree_map
init = nn.Linear(3, 2, seed=0) # a module holds its parameters from the start
fit = train.fit # fit is a function: train.fit(model, (x, y), optimizer=..., epochs=...)
compile = model # nothing to compile; the optimiser and the loss are given to train.fit
predict predict_on_batch = train.predict(model, x)
evaluate = train.evaluate(model, (x, i))
save save_weights = train.save # train.save(path, model)
load_weights = train.load # train.load(path, model)
get_config = model.config()
requires_grad trainable = model.requires_grad_(False)

[Optimizer]
param_groups = opt.groups
defaults learning_rate = opt.lr
add_param_group = optim.SGD([{"parameters": [w], "lr": 0.1}]) # groups are given when it is made
apply_gradients apply = opt.step() # after loss.backward(); opt.minimize(loss) does both
state get_state = opt.state_dict()
init = optim.SGD(model) # an optimiser holds its state from the start

[Graph]
print_tabular code pretty_print = str(g)
nodes eqns = g.equations
graph = g
jaxpr = str(g)
recompile compile optimize lower = g.transform()
forward run eval = g(x)
to_dot render plot = g.draw

[keywords]
dim dims axes = axis
axis dims dim = axes
keepdim keep_dims = keepdims
input a = x
self tensor = x
decay_rate rho smoothing_constant alpha = decay
learning_rate alpha step_size eta = lr
params = parameters
p prob rate dropout_rate = rate
negative_slope alpha = slope
in_features input_dim in_dim = inputs
out_features units features output_dim out_dim = outputs
use_bias has_bias = bias
num_features num_channels = features
epsilon = eps
stddev sigma scale = std
loc mu = mean
kernel_initializer kernel_init = weight_init
bias_initializer = bias_init
rng key random_state generator rngs random_seed = seed
num_classes depth = classes
size sizes = shape
out_dtype = dtype
x arrays tensors xs = arrays
padding_idx ignore = ignore_index
weights class_weight = weight
ddof unbiased = correction
b1 = beta1
b2 = beta2
max_norm max_value clip_value = limit
bs batch = batch_size
n_epochs num_epochs = epochs
validation_data val dev_data = dev
loss_fn criterion = loss
opt optim = optimizer
scaler = normalizer
argnum = argnums
fun func f fn = function
low min a min_value = a_min
high max b max_value = a_max
file filename = path
wrt = xs

[unsupported]
device = everything runs on the CPU; leave it out
inplace = tensors never change; leave it out
out = tensors never change; assign the result
requires_grad = ask the result: y.requires_grad_()
momentum = use optim.Momentum(..., beta=), whose docstring says how its learning rate compares
betas = write beta1= and beta2=
amsgrad maximize foreach fused capturable differentiable = there is none; leave it out
num_workers pin_memory prefetch_factor persistent_workers = batches are made in the process itself; leave it out
memory_format layout order = arrays are kept as NumPy keeps them; leave it out
activation = put nn.ReLU() after the layer
static_argnums static_argnames = strings, booleans and None are static of themselves; leave it out
holomorphic = complex numbers are not supported; leave it out
"""


@cache
def entries() -> dict[str, dict[str, tuple[str, str]]]:
    """The table by section and name: the code and the words."""
    sections: dict[str, dict[str, tuple[str, str]]] = {}
    for line in TABLE.replace("\\\n", "").splitlines():
        if line.startswith("["):
            section = sections.setdefault(line[1:-1], {})
        elif line:
            names, _, rest = line.partition(" = ")
            code, _, words = rest.partition(" # ")
            section |= dict.fromkeys(names.split(), (code, words))
    return sections


def answer(section: str, name: str) -> str:
    """What to write for a name of another library, as the end of a sentence; empty where it is no such name."""
    code, words = entries().get(section, {}).get(name, ("", ""))
    return f"{words}: {code}" if words else f"write {code}" if code else ""


def absent(what: str, section: str, name: str, names: Sequence[str] = ()) -> AttributeError:
    """The error for an attribute that is not there; `names` are those that are."""
    hint = answer(section, name)
    if not hint:
        close = near(name, names) if len(name) > 3 else None
        hint = f"did you mean {close!r}?" if close else ""
    return AttributeError(f"{what} has no attribute {name!r}{f'; {hint}' if hint else ''}", name=name)


def getter(module: str, names: Sequence[str]) -> Callable[[str], NoReturn]:
    """``__getattr__`` of a module with these public names."""

    def __getattr__(name: str) -> NoReturn:
        raise absent(f"module {module!r}", module, name, names)

    return __getattr__


class Absent:
    """In place of a method or attribute that has another name here. Not `__getattr__`, which slows down all others."""

    __slots__ = ("name", "section")

    def __init__(self, section: str, name: str) -> None:
        self.section, self.name = section, name

    def __get__(self, instance: Any, owner: Any = None) -> NoReturn:
        raise absent(owner.__name__, self.section, self.name)


def put_absent(cls: type) -> None:
    """Answer for the names of a class's section, where the class has none of its own."""
    for name in entries().get(cls.__name__, ()):
        if not hasattr(cls, name):
            setattr(cls, name, Absent(cls.__name__, name))
    cls.__dir__ = _names  # type: ignore[method-assign,assignment]


def _names(instance: Any) -> list[str]:
    """What `dir` lists: without the names of others."""
    cls = type(instance)
    return [
        name for name in object.__dir__(instance) if not isinstance(inspect.getattr_static(cls, name, None), Absent)
    ]


@cache
def keywords() -> dict[str, list[str]]:
    """What keywords of others are here: the first that a function has."""
    targets: dict[str, list[str]] = {}
    for line in TABLE.partition("[keywords]\n")[2].partition("\n\n")[0].splitlines():
        names, _, target = line.partition(" = ")
        for name in names.split():
            targets.setdefault(name, []).append(target)
    return targets


def keyword_hint(key: str, names: Sequence[str]) -> str:
    """What to write for an unknown keyword of a function with these; empty where nothing is known of it."""
    known = [target for target in keywords().get(key, ()) if target in names]
    return f"write {known[0]}=" if known else entries()["unsupported"].get(key, ("", ""))[0]
