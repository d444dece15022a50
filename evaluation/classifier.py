"""How does IBM's Adversarial Robustness Toolbox attack the model? As a classifier whose gradients JAX takes."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # no PyTorch here, on purpose
    from art.estimators.classification.classifier import ClassGradientsMixin, ClassifierMixin
    from art.estimators.estimator import BaseEstimator, LossGradientsMixin, NeuralNetworkMixin

from .model import jit_padded


class OnnxClassifier(ClassGradientsMixin, ClassifierMixin, LossGradientsMixin, NeuralNetworkMixin, BaseEstimator):
    """Logits of a `Model` over the unit space of a `Space`; predictions are those of ONNX Runtime.

    `grid`: the rows as squares [1, side, side], the last elements unused, for attacks that know images alone.
    `clip`: the range that an attack may use, or None.
    """

    estimator_params = BaseEstimator.estimator_params + ["input_shape"]

    def __init__(self, model, space, clip, grid=False):
        shape = model.contract.shape
        self._features = int(np.prod(shape))
        side = int(np.ceil(np.sqrt(self._features)))
        self._shape = (1, side, side) if grid else shape
        channels_first = not (len(shape) == 3 and shape[2] in (1, 3) and shape[0] not in (1, 3))
        # Not given to the base class: it takes no limits of a single feature that are infinite.
        super().__init__(model=None, clip_values=None, channels_first=channels_first)
        self._clip_values = clip
        self.nb_classes = model.logits(space.offset[None] if space.offset.shape == shape else np.zeros((1, *shape))).shape[1]
        self._onnx, self._space = model, space
        if model.graph is not None:
            self._compile(model, space)

    def _compile(self, model, space):
        scale, offset = jnp.asarray(space.scale), jnp.asarray(space.offset)
        logits = lambda x: model.traced_logits(x * scale + offset)
        loss = lambda x, y: -(y * jax.nn.log_softmax(logits(x))).sum()
        one = lambda x: logits(x[None])[0]
        self._loss_gradient = jit_padded(jax.grad(loss))
        self._all_gradients = jit_padded(jax.vmap(jax.jacrev(one)))
        chosen = lambda x, label: jnp.take(one(x), label)
        self._chosen_gradient = jit_padded(jax.vmap(jax.grad(chosen)))

    @property
    def input_shape(self):
        return self._shape

    def predict(self, x, batch_size=128, **_):
        return self._onnx.logits(self._rows(x) * self._space.scale + self._space.offset)

    def loss_gradient(self, x, y, **_):
        """Gradient of the cross-entropy of each row; y as one-hot rows."""
        return self._loss_gradient(self._rows(x), np.asarray(y, np.float32)).reshape(x.shape)

    def class_gradient(self, x, label=None, **_):
        """Gradients [n, classes or 1, ...] of the logits, or of the one that `label` names for all or for each row."""
        if label is None:
            return self._all_gradients(self._rows(x)).reshape(len(x), self.nb_classes, *x.shape[1:])
        label = np.broadcast_to(np.asarray(label, np.int32), (len(x),))
        return self._chosen_gradient(self._rows(x), label).reshape(len(x), 1, *x.shape[1:])

    def compute_loss(self, x, y, **_):
        logits = self.predict(x)
        shifted = logits - logits.max(1, keepdims=True)
        return -(y * (shifted - np.log(np.exp(shifted).sum(1, keepdims=True)))).sum(1)

    def _rows(self, x):
        flat = np.asarray(x, np.float32).reshape(len(x), -1)[:, : self._features]
        return flat.reshape(len(x), *self._onnx.contract.shape)

    def fit(self, x, y, batch_size=128, nb_epochs=20, **_):
        raise NotImplementedError("the weights are those of the ONNX file")

    def get_activations(self, x, layer, batch_size=128, framework=False):
        raise NotImplementedError("no attack of this evaluation asks for them")

    def save(self, filename, path=None):
        raise NotImplementedError("the model is an ONNX file already")
