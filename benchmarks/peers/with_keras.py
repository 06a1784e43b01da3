"""The same by Keras on TensorFlow: image_dataset_from_directory, Sequential, fit."""

from __future__ import annotations

import os
import time

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np
from job import answer, read
from keras import layers


def build(name: str, size: int, outputs: int) -> keras.Model:
    """The same layers, channels last as Keras has them."""
    shape = keras.Input((size, size, 3))
    if name == "tinyvgg":
        body = [
            layers.Conv2D(10, 3, activation="relu"),
            layers.Conv2D(10, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(10, 3, activation="relu"),
            layers.Conv2D(10, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
        ]
    else:
        body = [
            layers.Conv2D(16, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(16, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(256, activation="relu"),
        ]
    return keras.Sequential([shape, layers.Rescaling(1 / 255), *body, layers.Dense(outputs)])


class Clock(keras.callbacks.Callback):
    """Seconds of each epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
        self.started = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: object = None) -> None:
        self.seconds.append(time.perf_counter() - self.started)


def main() -> None:
    job = read()
    keras.utils.set_random_seed(job.seed)
    train, val, test = (
        keras.utils.image_dataset_from_directory(
            f"{job.tree}/{split}",
            image_size=(job.size, job.size),
            batch_size=job.batch,
            shuffle=split == "train",
            verbose=False,
        )
        for split in ("train", "val", "test")
    )
    outputs = 1 if len(train.class_names) == 2 else len(train.class_names)
    model = build(job.network, job.size, outputs)
    model.compile(
        optimizer=keras.optimizers.Adam(job.lr),
        loss=keras.losses.BinaryCrossentropy(from_logits=True)
        if outputs == 1
        else keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[keras.metrics.BinaryAccuracy(threshold=0.0)] if outputs == 1 else ["accuracy"],
    )
    clock = Clock()
    model.fit(train, epochs=job.epochs, validation_data=val, verbose=0, callbacks=[clock])
    right = total = 0
    for images, labels in test:
        logits = model.predict_on_batch(images)
        chosen = logits[:, 0] > 0 if outputs == 1 else logits.argmax(1)
        right += int(np.sum(chosen == labels.numpy()))
        total += len(labels)
    answer(clock.seconds, right, total)


if __name__ == "__main__":
    main()
