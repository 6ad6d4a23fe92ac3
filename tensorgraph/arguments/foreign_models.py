"""Layers, optimisers, data, graphs and keywords of other libraries: a part of the table that `foreign` reads."""

from __future__ import annotations

__all__ = ["MODELS"]

MODELS = """
[tensorgraph.nn]
summary = model.summary(x)
Dense LazyLinear = nn.Linear(3, 2)
Bilinear = (x @ m3 * x).sum(axis=-1) # no such layer yet; in a Module of your own, for each output, it is
BatchNorm1d BatchNorm2d BatchNorm3d BatchNormalization SyncBatchNorm = nn.BatchNorm(3)
LazyBatchNorm1d LazyBatchNorm2d LazyBatchNorm3d = nn.BatchNorm(3)
LayerNormalization = nn.LayerNorm(3)
InstanceNorm1d InstanceNorm2d InstanceNorm3d = nn.InstanceNorm(3)
GroupNormalization = nn.GroupNorm(1, 3)
RMSNormalization = nn.RMSNorm(3)
ParameterList = [nn.Linear(3, 3), nn.Linear(3, 2)] # a plain list of modules or parameters, assigned to an \
attribute, is found
ParameterDict BufferDict = {"first": nn.Linear(3, 3)} # a plain dict of modules or parameters, assigned to \
an attribute, is found
Embed = nn.Embedding(10, 4)
Conv Conv2D LazyConv2d = nn.Conv2d(1, 6, 5)
Conv1D LazyConv1d = nn.Conv1d(1, 6, 5)
Conv3D LazyConv3d = nn.Conv3d(1, 6, 3)
Conv2DTranspose LazyConvTranspose2d = nn.ConvTranspose2d(6, 1, 4, stride=2)
Conv1DTranspose LazyConvTranspose1d = nn.ConvTranspose1d(6, 1, 4, stride=2)
DepthwiseConv2D = nn.Conv2d(6, 6, 3, groups=6)
SeparableConv2D = nn.Sequential(nn.Conv2d(6, 6, 3, groups=6), nn.Conv2d(6, 8, 1))
MaxPooling2D = nn.MaxPool2d(2)
MaxPooling1D = nn.MaxPool1d(2)
MaxPooling3D = nn.MaxPool3d(2)
AveragePooling2D = nn.AvgPool2d(2)
AveragePooling1D = nn.AvgPool1d(2)
AveragePooling3D = nn.AvgPool3d(2)
GlobalAveragePooling2D = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
GlobalAveragePooling1D = nn.Sequential(nn.AdaptiveAvgPool1d(1), nn.Flatten())
GlobalMaxPooling2D = nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten())
GlobalMaxPooling1D = nn.Sequential(nn.AdaptiveMaxPool1d(1), nn.Flatten())
UpsamplingNearest2d UpSampling2D = nn.Upsample(scale_factor=2)
UpsamplingBilinear2d = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
ZeroPad1d ZeroPad2d ZeroPad3d ConstantPad1d ConstantPad2d ZeroPadding2D ConstantPad3d = nn.Lambda(lambda x: tg.pad(x, \
((0, 0), (0, 0), (1, 1), (1, 1))))
ReflectionPad1d ReflectionPad2d ReflectionPad3d = nn.Lambda(lambda x: tg.pad(x, ((0, 0), (1, 1)), "reflect")) # any \
function is a layer
ReplicationPad1d ReplicationPad2d ReplicationPad3d = nn.Lambda(lambda x: tg.pad(x, ((0, 0), (1, 1)), "edge")) # any \
function is a layer
CircularPad1d CircularPad2d CircularPad3d = nn.Lambda(lambda x: tg.pad(x, ((0, 0), (1, 1)), "wrap")) # any function is \
a layer
RNNBase RNNCellBase SimpleRNN = nn.RNN(3, 2)
Bidirectional = nn.LSTM(3, 2, bidirectional=True)
ConvLSTM2D = nn.LSTM(3, 2) # no such layer; over vectors it is
MultiheadAttention Attention = nn.MultiHeadAttention(4, 2)
Transformer TransformerDecoder TransformerDecoderLayer = nn.TransformerEncoder(4, 2, 8, 1) # no decoder yet; \
MultiHeadAttention(query, key) looks at another sequence, and the encoder, with causal=True at what came before, is
Swish = nn.SiLU()
GLU = nn.Lambda(lambda x: tg.glu(x, axis=0)) # any function is a layer
Softmin = nn.Lambda(lambda x: tg.softmin(x))
Softmax2d = nn.Softmax(axis=-3)
Tanhshrink = nn.Lambda(lambda x: tg.tanhshrink(x))
Hardshrink = nn.Lambda(lambda x: tg.hardshrink(x))
Softshrink = nn.Lambda(lambda x: tg.softshrink(x))
Threshold = nn.Lambda(lambda x: tg.threshold(x, 1.0, 0.0))
RReLU = nn.LeakyReLU(11 / 48) # no slopes drawn at random; their mean is
Activation = nn.ReLU()
Input InputLayer = nn.Sequential(nn.Linear(3, 2)) # sizes are given to the layers; leave it out
SpatialDropout2D = nn.Dropout2d(0.5)
AlphaDropout FeatureAlphaDropout = nn.Dropout(0.5) # no such layer; of elements it is
GaussianNoise = nn.Lambda(lambda x: x + 0.1 * tg.random.normal(x.shape))
Unflatten Reshape = nn.Lambda(lambda x: x.reshape(-1, 1, 3))
Permute = nn.Lambda(lambda x: x.transpose(1, 0))
ChannelShuffle = nn.Lambda(lambda x: tg.channel_shuffle(x, 2)) # no such layer; any function is one
Concatenate = tg.concatenate([x, y], axis=-1)
Add = x + y
Multiply = x * y
CosineSimilarity = tg.cosine_similarity(x, y, axis=1)
PairwiseDistance = tg.pairwise_distance(x, y)
CrossEntropyLoss SparseCategoricalCrossentropy CategoricalCrossentropy = tg.softmax_cross_entropy(x, i)
MSELoss MeanSquaredError = tg.mse(x, y)
L1Loss MeanAbsoluteError = tg.mae(x, y)
HuberLoss Huber = tg.huber(x, y, delta=1.0)
SmoothL1Loss = tg.smooth_l1(x, y, beta=1.0)
BCEWithLogitsLoss = tg.sigmoid_cross_entropy(x, p) # of logits x and targets p
BCELoss BinaryCrossentropy = tg.binary_cross_entropy(p, p) # of probabilities and targets
NLLLoss NLLLoss2d = tg.nll(x, i) # of logarithms of probabilities x
KLDivLoss = tg.kl_div(x, p) # of logarithms x and probabilities p
PoissonNLLLoss = tg.poisson_nll(x, p)
GaussianNLLLoss = tg.gaussian_nll(x, y, p) # of variances p
SoftMarginLoss = tg.soft_margin(x, tg.sign(p))
MarginRankingLoss = tg.margin_ranking(x, y, tg.sign(p))
TripletMarginLoss = tg.triplet_margin(x, y, p)
CosineEmbeddingLoss = tg.cosine_embedding(x, y, tg.sign(x[:, 0]))
MultiMarginLoss = tg.multi_margin(x, i)
MultiLabelSoftMarginLoss = tg.multilabel_soft_margin(x, tg.sigmoid(x))
LinearCrossEntropyLoss = tg.softmax_cross_entropy(x @ m3, i)
TripletMarginWithDistanceLoss = tg.relu(tg.cdist(x, y) - tg.cdist(x, x) + 1.0).mean()
HingeLoss Hinge = tg.hinge(x, tg.sign(y)) # of scores x, and targets of -1 and 1
functional = tg.relu(x) # functions stand in tensorgraph itself
utils = optim.clip_grad_norm(model.parameters(), 1.0)
modules = nn.Module
DataParallel parallel = model # the optimiser is what knows of processes, dist.DataParallel(optimizer); the model is
compact Model = nn.Module
Parameter = tg.Parameter([1.0, 2.0])
Buffer = tg.Buffer([1.0, 2.0])
parameter = tg.Parameter([1.0, 2.0])
UninitializedParameter = tg.Parameter(tg.zeros((3, 2)))
Container = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
HingeEmbeddingLoss = tg.hinge_embedding(x, tg.sign(p)) # of distances x, and targets of -1 and 1
CTCLoss MultiLabelMarginLoss = tg.softmax_cross_entropy(x, i) # no such loss yet; where there is one label an element, \
without alignment, it is
LocalResponseNorm MaxUnpool1d MaxUnpool2d FractionalMaxPool2d AdaptiveLogSoftmaxWithLoss = nn.Lambda(f) # no such \
layer yet; any function f is a layer
initializers = nn.init.he_normal((3, 2))
EmbeddingBag = nn.Lambda(lambda ids: tg.ones((10, 4))[ids].mean(axis=-2)) # no such layer yet; a Parameter that is \
indexed is one, such as
LPPool2d = nn.Lambda(lambda x: tg.lp_pool2d(x, 2.0, 2)) # no such layer; any function is one
LPPool1d LPPool3d = nn.Lambda(lambda x: tg.lp_pool1d(x, 2.0, 2)) # no such layer; any function is one
Unfold = nn.Lambda(lambda x: tg.im2col(x, 2)) # no such layer; any function is one
Fold = nn.Lambda(lambda x: tg.pad(x[..., 0, :], ((0, 0), (0, 1))) + tg.pad(x[..., 1, :], ((0, 0), (1, 0)))) # no such \
layer yet; windows are put back by sums
Average = (x + y) / 2.0
Maximum = tg.maximum(x, y)
Minimum = tg.minimum(x, y)
Subtract = x - y
Dot = (x * y).sum(axis=-1, keepdims=True)
RepeatVector = nn.Lambda(lambda x: tg.repeat(x[:, None], 2, axis=1))
Rescaling = nn.Lambda(lambda x: x / 255.0)
UnitNormalization = nn.Lambda(lambda x: tg.normalize(x, axis=-1))
TimeDistributed = nn.Linear(3, 2) # layers take all axes before the last as a batch; leave it out
Cropping1D Cropping2D = nn.Lambda(lambda x: x[:, 1:-1])
ThresholdedReLU = nn.Lambda(lambda x: tg.threshold(x, 1.0, 0.0))

[tensorgraph.nn.init]
kaiming_normal kaiming_normal_ he_normal_ HeNormal = nn.init.he_normal((3, 2))
kaiming_uniform kaiming_uniform_ he_uniform_ HeUniform = nn.init.he_uniform((3, 2)) # with a=5**0.5 it is \
torch_uniform; for ReLU
glorot_normal glorot_normal_ xavier_normal_ GlorotNormal = nn.init.xavier_normal((3, 2))
glorot_uniform glorot_uniform_ xavier_uniform_ GlorotUniform = nn.init.xavier_uniform((3, 2))
normal_ RandomNormal trunc_normal_ truncated_normal TruncatedNormal = nn.init.normal((3, 2), std=0.02)
uniform_ RandomUniform = nn.init.uniform((3, 2), low=-0.1, high=0.1)
he kaiming = nn.init.he_normal((3, 2))
glorot xavier = nn.init.xavier_uniform((3, 2))
lecun = nn.init.lecun_normal((3, 2))
pytorch torch default = nn.init.torch_uniform((3, 2)) # PyTorch's own is
zeros_ Zeros = nn.init.zeros((2,))
ones_ Ones = nn.init.ones((2,))
constant_ Constant = nn.init.constant((2,), value=0.1)
orthogonal orthogonal_ delta_orthogonal variance_scaling eye eye_ dirac dirac_ sparse sparse_ Identity Orthogonal \
VarianceScaling = nn.Linear(3, 2, weight_init=lambda shape: np.eye(*shape)) # no such initialiser yet; any function of \
a shape is one
calculate_gain = 2.0**0.5 # he_normal has the gain of ReLU in it

[tensorgraph.optim]
Adagrad Adadelta Adafactor NAdam RAdam Adamax ASGD SparseAdam Lamb Lion LBFGS Rprop Muon Nadam Ftrl = \
optim.Adam(model) # no such optimiser yet
RMSProp rmsprop = optim.RMSprop(model)
sgd = optim.SGD(model)
adam = optim.Adam(model)
adamw = optim.AdamW(model)
lr_scheduler LRScheduler = optim.SGD(model, lr=optim.cosine(0.1, steps=100)) # a schedule is given as lr=
StepLR = optim.SGD(model, lr=optim.staircase(0.1, 0.5, every=30))
MultiStepLR = optim.SGD(model, lr=optim.piecewise([30, 80], [0.1, 0.01, 0.001]))
ExponentialLR ExponentialDecay exponential_decay = optim.SGD(model, lr=optim.exponential(0.1, 0.95))
CosineAnnealingLR CosineDecay cosine_decay_schedule = optim.SGD(model, lr=optim.cosine(0.1, steps=100))
LambdaLR = optim.SGD(model, lr=optim.Schedule(lambda t: 0.1 / (1.0 + t)))
OneCycleLR SequentialLR ChainedScheduler warmup_cosine_decay_schedule = optim.SGD(model, lr=optim.warmup(10) * \
optim.cosine(0.1, steps=100))
LinearLR PolynomialLR linear_schedule polynomial_schedule MultiplicativeLR CyclicLR CosineAnnealingWarmRestarts = \
optim.SGD(model, lr=optim.Schedule(lambda t: 0.1 * (1.0 - t / 100.0))) # a schedule is any function of the step, such \
as
PiecewiseConstantDecay piecewise_constant_schedule = optim.piecewise([10, 20], [0.1, 0.01, 0.001])
InverseTimeDecay = optim.inverse_time(0.1, decay=0.01)
ReduceLROnPlateau = setattr(opt, "lr", 0.01) # a rate may be set at any time, by what the measures say: opt.lr = 0.01, \
or
constant_schedule ConstantLR = optim.constant(0.1)
clip_grad_norm_ clip_by_global_norm = optim.clip_grad_norm(model.parameters(), 1.0)
clip_grad_value_ clip = optim.clip_grad_value(model.parameters(), 1.0)
apply_updates chain = optim.SGD(model).minimize(loss) # an optimiser changes the parameters it was given
swa_utils = optim.SGD(model) # no averages of parameters yet; a Buffer beside each holds one

[tensorgraph.data]
DataLoader BatchSampler = data.Loader(np.zeros((4, 2)), np.zeros(4), batch_size=2)
TensorDataset ArrayDataset = data.Dataset(np.zeros((4, 2)), np.zeros(4))
random_split train_test_split = data.split(np.zeros((10, 2)), np.zeros(10))
StandardScaler Normalization = data.Normalizer()
from_tensor_slices = data.Loader(np.zeros((4, 2)), batch_size=2)
loadtxt genfromtxt = data.read_csv # read_csv(path) reads a table
load_iris fetch_openml mnist MNIST = data.load_digits # load_digits() is what comes along
IterableDataset MapDataPipe StackDataset = data.Dataset(np.zeros((4, 2)), np.zeros(4)) # batches are made of arrays; \
for others write a loop
Subset SubsetRandomSampler = data.Dataset(np.zeros((4, 2))[[0, 2]], np.zeros(4)[[0, 2]])
ConcatDataset ChainDataset = data.Dataset(np.concatenate([np.zeros((4, 2)), np.zeros((4, 2))]))
Sampler RandomSampler SequentialSampler WeightedRandomSampler DistributedSampler = data.Loader(np.zeros((4, 2)), \
batch_size=2, shuffle=False) # the order is that of the rows, or random with a seed
default_collate default_convert = tg.tensor(np.stack([np.zeros(2), np.ones(2)]))

[tensorgraph.train]
EarlyStopping = train.EarlyStop(patience=5)
ModelCheckpoint Checkpoint BackupAndRestore = train.Run("runs/first") # fit(..., run=run) goes on from its folder
TrainState Trainer = train.fit # fit(model, (x, y), optimizer=..., epochs=...)
ReduceLROnPlateau LearningRateScheduler = optim.SGD(model, lr=optim.cosine(0.1, steps=100)) # a schedule is given to \
the optimiser as lr=
TensorBoard CSVLogger = train.fit # fit returns a History of all measures

[tensorgraph.train.metrics]
accuracy_score Accuracy categorical_accuracy sparse_categorical_accuracy = train.metrics.accuracy
f1 F1Score = train.metrics.f1_score
precision_score Precision = train.metrics.precision
recall_score Recall sensitivity = train.metrics.recall
top_k TopKCategoricalAccuracy top_k_accuracy_score = train.metrics.top_k_accuracy
ConfusionMatrix = train.metrics.confusion_matrix
mean_squared_error MeanSquaredError = train.metrics.mse
mean_absolute_error MeanAbsoluteError = train.metrics.mae
root_mean_squared_error RootMeanSquaredError = train.metrics.rmse
r2_score R2Score = train.metrics.r2
log_loss = tg.softmax_cross_entropy(x, i)

[Module]
double = model.astype("float64")
half = model.astype("float16")
to cuda cpu xpu float bfloat16 type ipu mtia to_empty = model.astype("float32") # everything runs \
on the CPU; dtypes are float16, float32 and float64
children named_children = [part for _, part in model.named_modules()]
weights trainable_weights trainable_variables variables get_weights = model.parameters()
set_weights = model.load_state_dict(model.state_dict())
add_module register_module add set_submodule = nn.Linear(3, 2) # assign one to an attribute, and it is found; a \
Sequential has append
register_parameter = tg.Parameter([0.0, 0.0]) # assign one to an attribute, and it is found
register_buffer = tg.Buffer([0.0, 0.0]) # assign one to an attribute, and it is found
register_backward_hook register_full_backward_hook \
register_full_backward_pre_hook register_state_dict_post_hook register_load_state_dict_post_hook = (w * \
w).register_hook(print) # tensors have hooks, modules those of the forward call alone: register_forward_hook
init = nn.Linear(3, 2, seed=0) # a module holds its parameters from the start
fit = train.fit # fit is a function: train.fit(model, (x, y), optimizer=..., epochs=...)
predict predict_on_batch = train.predict(model, x)
evaluate = train.evaluate(model, (x, i))
save save_weights = train.save # train.save(path, model)
load_weights = train.load # train.load(path, model)
get_config = model.config()
requires_grad trainable = model.requires_grad_(False)
in_features = model.inputs
out_features = model.outputs
num_features num_channels = nn.BatchNorm(3).features
get_parameter = dict(model.named_parameters())["weight"]
get_buffer = dict(nn.BatchNorm(3).named_buffers())["running_mean"]
get_submodule get_layer = dict(model.named_modules())[""]
share_memory = model # leave it out
parameters_and_buffers get_extra_state = model.state_dict()
train_on_batch fit_generator = train.fit # fit is a function: train.fit(model, (x, y), optimizer=..., epochs=...)
count_params num_parameters = sum(p.size for p in model.parameters())
call = model(x)

[Optimizer]
param_groups = opt.groups
defaults learning_rate = opt.lr
add_param_group = optim.SGD([{"parameters": [w], "lr": 0.1}]) # groups are given when it is made
apply_gradients apply = opt.step() # after loss.backward(); opt.minimize(loss) does both
state get_state = opt.state_dict()
init = optim.SGD(model) # an optimiser holds its state from the start
register_step_post_hook register_step_pre_hook = opt.step() # optimisers have no hooks; call what is to be done beside

[Graph]
print_tabular code pretty_print = str(g)
nodes eqns = g.equations
graph = g
jaxpr = str(g)
recompile compile optimize lower = g.transform()
forward run eval = g(x)
to_dot render plot show view to_svg to_png png svg = g.draw # draw() gives a Drawing, which notebooks show and whose \
save(path) writes it
vmap batch = g.batched(5)
hessian = tg.hessian(f)
vjp = tg.vjp(f, x)
copy clone = g # graphs never change: no copy is needed
print dump to_text = str(g)
to_onnx onnx export = g.save # there are no ONNX files; save(path) writes the graph as text
parameters named_parameters state_dict buffers = g.cells # the cells that a graph reads are
call = g(x)
edges = g.index

[Drawing]
show display plot view = drawing.html() # a notebook shows a drawing by itself; elsewhere there are save("graph.svg") \
and
png to_png pdf to_pdf savefig write write_png render = drawing.save # the end of the name says the format, as in \
save("graph.png")
to_svg = drawing.svg()
to_dot pipe string to_string = drawing.dot()
to_html = drawing.html()
to_json = drawing.json()

[keywords]
dim dims axes = axis
axis dims dim = axes
keepdim keep_dims = keepdims
input a = x
attn_mask attention_mask bias = mask
key_padding_mask src_key_padding_mask = key_mask
is_causal = causal
self tensor = x
decay_rate rho smoothing_constant alpha = decay
learning_rate alpha step_size eta = lr
params = parameters
p prob dropout_rate drop_prob = rate
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
size sizes newshape out_shape sample_shape = shape
out_dtype = dtype
x arrays tensors xs = arrays
padding_idx ignore = ignore_index
weights class_weight = weight
ddof unbiased = correction
correction = ddof
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
start_dim start = start_axis
end_dim end = end_axis
dim0 axis0 = axis1
dim1 = axis2
end = stop
fill_value val c = value
in_dims = in_axes
out_dims = out_axes
in_axes = in_dims
out_axes = out_dims
repeats reps multiples dims = repetitions
shifts = shift
diagonal offset = k
k diagonal = offset
index idx ids = indices
minlength num_labels = classes
target labels targets y_true = target
labels y target = labels
logits input y_pred = logits
other y x2 = b
input x x1 = a
input self = x
exponent = b
split_size_or_sections indices_or_sections num_split = sizes
pad pad_width padding paddings = widths
constant_values = value
condition cond pred = c
n_samples = n
N num_rows = n
step_size = every
gamma decay_rate = factor
T_max decay_steps = steps
eta_min = final
vocab_size = classes
min = a_min
max = a_max
m arr array ary A v obj = x
tensors tup arrays = xs
weight scale = gamma
bias = beta
start_dim = keep
dim2 = axis2
mode = training
input_size in_channels in_dims n_in = inputs
hidden_size hidden_dim = units
out_channels filters n_out = outputs
num_layers n_layers = layers
num_layers n_layers = count
num_embeddings input_dim vocab_size = count
embedding_dim output_dim = features
padding_idx = padding_index
embed_dim d_model key_dim = dim
num_heads nhead n_heads = heads
kdim = key_dim
vdim = value_dim
num_kv_heads = key_heads
dim_feedforward = hidden
nonlinearity = activation
normalized_shape = shape
elementwise_affine center scale = affine
num_groups = groups
num_features num_channels num_parameters = channels
pool_size window_shape = kernel_size
strides = stride
interpolation = method
gradient = grad_output

[unsupported]
device = everything runs on the CPU; leave it out
inplace = tensors never change; leave it out
out = tensors never change; assign the result
requires_grad = ask the result: y.requires_grad_()
momentum = use optim.Momentum(..., beta=), whose docstring says how its learning rate compares
betas = write beta1= and beta2=
amsgrad maximize foreach fused capturable differentiable = there is none; leave it out
num_workers pin_memory prefetch_factor persistent_workers = data.prefetch(batches) makes them ahead in a thread
memory_format layout order = arrays are kept as NumPy keeps them; leave it out
activation = put nn.ReLU() after the layer
static_argnums static_argnames = strings, booleans and None are static of themselves; leave it out
holomorphic = complex numbers are not supported; leave it out
mean = write loc=
stddev std sigma = write scale=
minval = write low=
maxval = write high=
lr learning_rate = the optimiser has it: optimizer=optim.Adam(model, lr=0.001)
verbose = write progress=True or progress=False
validation_split = split the data before, by data.split, and write dev=
shuffle_buffer sampler batch_sampler collate_fn = batches are made of arrays: write shuffle=True, or shuffle=False
drop_last drop_remainder = write last="drop"
nesterov = write optim.Momentum(..., nesterov=True)
where = write tg.where(condition, x, 0.0) for the argument, or for the result
initial = write tg.maximum(initial, ...), or initial + ..., with the result
recurse remove_duplicate memo = all that is below comes, each once; leave it out
prefix destination keep_vars = paths begin at the module; change them in the result, {f"a.{path}": value for path, \
value in model.state_dict().items()}
assign = numbers are copied into the arrays that are there; leave it out
set_to_none = gradients are always set to None; leave it out
strict = names and shapes always have to fit; leave it out
non_blocking casting subok ndmin like sparse = there is none; leave it out
training train = model.train() and model.eval() say it; leave it out
name = there are no names of layers; a module has the name of the attribute that it is assigned to
input_shape = sizes are given to the layers: nn.Linear(inputs, outputs)
kind = sort is stable; leave it out
mode = the border of pad is constant, and take refuses positions outside; other borders are indices, x[..., \
np.pad(np.arange(n), 1, mode="reflect")]
batch_first time_major = x is (batch, time, features); leave it out
return_sequences return_state = both come: the outputs of every step, and the last states; leave it out
padding_mode = pad before, tg.pad(x, widths, mode=...)
return_indices = positions are not given; leave it out
size_average reduce = write reduction=
unroll = a loop is one equation; leave it out
UPLO = both triangles are read; leave it out
use_reentrant = there is one way; leave it out
precision preferred_element_type = products are computed in the dtype of their operands; leave it out
dim0 dim1 axis1 axis2 = two axes are exchanged by tg.swapaxes(x, axis1, axis2)
track_running_stats affine center = there is always one; leave it out
sparse_grad = there are no sparse gradients; leave it out
indices_are_sorted unsorted = ids in ascending order are seen to be so; leave it out
jit_compile dynamic backend fullgraph = a graph is rewritten by transform(); leave it out
steps_per_epoch validation_steps validation_freq = an epoch is all of the data; leave it out
dtype = convert the argument, or the result, by astype(dtype)
alpha = multiply yourself: a + alpha * b
rounding_mode = write tg.floor_divide(a, b), or tg.trunc(a / b)
copy = tensors never change: no copy is needed; leave it out
map_location weights_only pickle_module pickle_protocol allow_pickle mmap mmap_mode = files hold numbers and names \
alone, no objects; leave it out
axis_name axis_size spmd_axis_name = axes have no names here; leave it out
policy prevent_cse concrete preserve_rng_state = all is computed again; leave it out
generator key rng seed random_state = tg.random.Generator(0) has the same functions and a state of its own
normalized_shape = axis= says from which axis on it is
running_mean running_var = nn.BatchNorm keeps averages; this is of the batch alone
centered decoupled_weight_decay = there is none; AdamW decays weights apart from the gradient
allow_int reduce_axes = gradients are those of floats; leave it out
out_sharding sharding = one process runs the threads; leave it out
eps = limit the argument, by tg.clip(x, eps, 1.0 - eps)
M num_columns = eye is square; a part of it is tg.eye(n)[:, :m]
"""
